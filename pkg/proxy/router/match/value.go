package match

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Metadata decides a matcher of dynamic metadata, which is by filter name.
func Metadata(m *model.MetadataMatcher, of map[string]map[string]any) bool {
	v, ok := At(of[m.Filter], m.Path)
	return (ok && Value(&m.Value, v)) != m.Invert
}

// At is the value that a path of keys leads to in plain Go values.
func At(tree map[string]any, path []string) (any, bool) {
	var v any = tree
	for _, key := range path {
		branch, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = branch[key]; !ok {
			return nil, false
		}
	}
	return v, len(path) > 0
}

// Value decides a matcher of a plain Go value: nil, bool, string, a number, a list or a map.
func Value(m *model.ValueMatcher, v any) bool {
	switch m.Kind {
	case model.ValueNull:
		return v == nil
	case model.ValueRange:
		n, ok := number(v)
		return ok && m.Start <= n && n < m.End
	case model.ValueNumber:
		n, ok := number(v)
		return ok && n == m.Start
	case model.ValueString:
		s, ok := v.(string)
		return ok && String(&m.String, s)
	case model.ValueBool:
		b, ok := v.(bool)
		return ok && b == m.Bool
	case model.ValuePresent:
		return m.Bool && primitive(v)
	case model.ValueList:
		list, ok := v.([]any)
		return ok && anyOf(m, list)
	case model.ValueOr:
		for i := range m.Any {
			if Value(&m.Any[i], v) {
				return true
			}
		}
	}
	return false
}

func anyOf(m *model.ValueMatcher, list []any) bool {
	for _, v := range list {
		if len(m.Any) > 0 && Value(&m.Any[0], v) {
			return true
		}
	}
	return false
}

func primitive(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// number accepts what filters may have put into metadata beside the float64 of JSON.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

// FilterState decides a matcher of the filter state.
func FilterState(m *model.FilterStateMatcher, state map[string]any) bool {
	v, ok := state[m.Key]
	if !ok {
		return false
	}
	if m.Prefixes != nil {
		addr, ok := address(v)
		return ok && Prefixes(m.Prefixes, addr) != m.InvertPrefixes
	}
	s, ok := Text(v)
	return ok && String(&m.String, s)
}

// Prefixes tells whether one of them holds the address.
func Prefixes(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Text is a filter state object as text.
func Text(v any) (string, bool) {
	switch s := v.(type) {
	case string:
		return s, true
	case fmt.Stringer:
		return s.String(), true
	}
	return "", false
}

func address(v any) (netip.Addr, bool) {
	switch a := v.(type) {
	case netip.Addr:
		return a.Unmap(), true
	case netip.AddrPort:
		return a.Addr().Unmap(), true
	}
	s, _ := Text(v)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), true
	}
	a, err := netip.ParseAddrPort(s)
	return a.Addr().Unmap(), err == nil
}

// TLS decides the criteria on the client's certificate. c is nil when nothing is known of the connection, which is then taken
// for one in plain text.
func TLS(m *model.TLSMatch, c *streaminfo.Connection) bool {
	presented := c != nil && c.TLS != nil && len(c.TLS.PeerCertificates) > 0
	if m.Presented != nil && *m.Presented != presented {
		return false
	}
	return m.Validated == nil || *m.Validated == (presented && c.PeerValidated)
}

// Cookies tells whether all matchers accept the request's cookies.
func Cookies(ms []model.CookieMatcher, h *message.Headers) bool {
	for i := range ms {
		m := &ms[i]
		v, ok := CookieValue(h, m.Name)
		if (ok && String(&m.String, v)) == m.Invert {
			return false
		}
	}
	return true
}

// CookieValue is the value of the first cookie of a name, without the quotes that may be around it.
func CookieValue(h *message.Headers, name string) (string, bool) {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Cookie {
			continue
		}
		for rest := f.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			k, v, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if ok && k == name {
				if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
					v = v[1 : len(v)-1]
				}
				return v, true
			}
		}
	}
	return "", false
}
