package accesslog

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// BindFilter is a filter as DecodeFilter made it with the runtime that answers its keys, for others than access logs who
// choose by such filters. runtime may be nil. The error tells that v is no filter.
func BindFilter(v any, runtime *model.Runtime) (Filter, error) {
	f, ok := v.(Filter)
	if !ok {
		return nil, fmt.Errorf("filter of type %T is not an access log filter", v)
	}
	return bind(f, runtime), nil
}
