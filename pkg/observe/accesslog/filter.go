package accesslog

import (
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Filter decides whether an entry is written. It is immutable.
type Filter interface {
	Match(c *format.Context) bool
}

// comparison is envoy.config.accesslog.v3.ComparisonFilter.
type comparison struct {
	op      byte // '=', '>' (at least), '<' (at most), '!'
	value   uint64
	key     string         // the runtime key that replaces value
	runtime *model.Runtime // nil: never replaced
}

func (c comparison) holds(v uint64) bool {
	value := c.value
	if c.runtime != nil {
		if n, ok := c.runtime.Number(c.key); ok {
			value = n
		}
	}
	switch c.op {
	case '=':
		return v == value
	case '>':
		return v >= value
	case '!':
		return v != value
	}
	return v <= value
}

// bound is c with a runtime, if it has a key.
func (c comparison) bound(runtime *model.Runtime) comparison {
	if c.key != "" {
		c.runtime = runtime
	}
	return c
}

// bind is f with a runtime for the comparisons in it.
func bind(f Filter, runtime *model.Runtime) Filter {
	all := func(list []Filter) []Filter {
		out := make([]Filter, len(list))
		for i := range list {
			out[i] = bind(list[i], runtime)
		}
		return out
	}
	switch f := f.(type) {
	case statusFilter:
		return statusFilter{f.bound(runtime)}
	case durationFilter:
		return durationFilter{f.bound(runtime)}
	case runtimeFilter:
		f.runtime = runtime
		return f
	case andFilter:
		return andFilter(all(f))
	case orFilter:
		return orFilter(all(f))
	}
	return f
}

type statusFilter struct{ comparison }

// Match implements Filter; a stream without response counts as status 0.
func (f statusFilter) Match(c *format.Context) bool {
	return c.Info != nil && f.holds(uint64(c.Info.ResponseCode))
}

type durationFilter struct{ comparison }

// Match implements Filter.
func (f durationFilter) Match(c *format.Context) bool {
	return c.Info != nil && f.holds(uint64(c.Info.Duration.Milliseconds()))
}

type notHealthCheckFilter struct{}

// Match implements Filter.
func (notHealthCheckFilter) Match(c *format.Context) bool {
	return c.Info == nil || !c.Info.HealthCheck
}

// flagFilter accepts streams with any of the flags, or with any flag at all when it has none.
type flagFilter streaminfo.Flags

// Match implements Filter.
func (f flagFilter) Match(c *format.Context) bool {
	if c.Info == nil {
		return false
	}
	if f == 0 {
		return c.Info.Flags != 0
	}
	return c.Info.Flags&streaminfo.Flags(f) != 0
}

type headerFilter struct{ matcher model.HeaderMatcher }

// Match implements Filter.
func (f *headerFilter) Match(c *format.Context) bool {
	return c.Request != nil && match.Header(&f.matcher, c.Request)
}

type grpcFilter struct {
	statuses []uint64
	exclude  bool
}

// Match implements Filter. A response without grpc-status counts by what its HTTP status means.
func (f *grpcFilter) Match(c *format.Context) bool {
	status, ok := format.GRPCStatus(c)
	if !ok {
		status = 2 // UNKNOWN
		if c.Info != nil && c.Info.ResponseCode != 0 {
			status = format.GRPCFromHTTP(c.Info.ResponseCode)
		}
	}
	return slices.Contains(f.statuses, status) != f.exclude
}

type typeFilter struct {
	types   []format.LogType
	exclude bool
}

// Match implements Filter.
func (f *typeFilter) Match(c *format.Context) bool {
	return slices.Contains(f.types, c.Type) != f.exclude
}

type metadataFilter struct {
	filter string
	path   []string // empty: nothing is there
	value  model.ValueMatcher
	// missing is the answer when there is no such value.
	missing bool
}

// Match implements Filter. The value is that of the stream's dynamic metadata when the entry is written.
func (f *metadataFilter) Match(c *format.Context) bool {
	if c.Info == nil {
		return f.missing
	}
	v, ok := match.At(c.Info.Dynamic[f.filter], f.path)
	if !ok {
		return f.missing
	}
	return match.Value(&f.value, v)
}

type andFilter []Filter

// Match implements Filter.
func (f andFilter) Match(c *format.Context) bool {
	for _, x := range f {
		if !x.Match(c) {
			return false
		}
	}
	return true
}

type orFilter []Filter

// Match implements Filter.
func (f orFilter) Match(c *format.Context) bool {
	for _, x := range f {
		if x.Match(c) {
			return true
		}
	}
	return false
}
