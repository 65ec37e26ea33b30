package accesslog

import (
	"errors"
	"math/rand/v2"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// runtimeFilter is envoy.config.accesslog.v3.RuntimeFilter: it accepts a share of the streams.
type runtimeFilter struct {
	key                    string
	numerator, denominator uint64
	// independent draws for each entry, rather than by the request id, which makes all proxies on a request's way agree.
	independent bool
	runtime     *model.Runtime
}

func decodeRuntimeFilter(m *accesslogv3.RuntimeFilter) (Filter, error) {
	if m.GetRuntimeKey() == "" {
		return nil, errors.New("runtime_filter.runtime_key: must not be empty")
	}
	f := runtimeFilter{
		key: m.GetRuntimeKey(), numerator: uint64(m.GetPercentSampled().GetNumerator()), denominator: 100,
		independent: m.GetUseIndependentRandomness(),
	}
	switch m.GetPercentSampled().GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		f.denominator = 1_000_000
	}
	return f, nil
}

// Match implements Filter. As in Envoy a number at the runtime key replaces the numerator alone.
func (f runtimeFilter) Match(c *format.Context) bool {
	numerator := f.numerator
	if n, ok := f.runtime.Number(f.key); ok {
		numerator = n
	}
	return f.draw(c)%f.denominator < numerator
}

func (f runtimeFilter) draw(c *format.Context) uint64 {
	const idDigits = 8 // of a UUID, what comes before its first dash
	if !f.independent && c.Request != nil {
		if id := c.Request.Headers.Get(message.XRequestID); len(id) >= idDigits {
			if n, err := strconv.ParseUint(id[:idDigits], 16, 64); err == nil {
				return n
			}
		}
	}
	return rand.Uint64()
}
