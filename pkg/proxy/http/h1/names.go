package h1

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// keptNames is where the names of the messages of a connection are kept, nil when they are not.
func keptNames(o *model.HTTP1Options) *message.Names {
	if o.HeaderFormat != model.HeaderPreserveCase {
		return nil
	}
	return &message.Names{Proper: o.ProperOwnNames}
}

// forget makes names ready for the next message.
func forget(names *message.Names) {
	if names != nil {
		*names = message.Names{Proper: names.Proper}
	}
}
