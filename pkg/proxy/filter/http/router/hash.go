package httprouter

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// hash combines what the policies say about the request, as Envoy does, so that a fleet of both agrees: the sum so far is
// rotated by one bit before the next hash is added, and a terminal policy ends the list once there is a hash.
func (x *exchange) hash(policies []model.HashPolicy) (sum uint64, ok bool) {
	for i := range policies {
		p := &policies[i]
		if h, found := x.hashOf(p); found {
			sum, ok = (sum<<1|sum>>63)^h, true
		}
		if ok && p.Terminal {
			break
		}
	}
	return sum, ok
}

func (x *exchange) hashOf(p *model.HashPolicy) (uint64, bool) {
	s := x.s
	switch {
	case p.Header != "":
		return hashHeader(p, s)
	case p.Cookie != "":
		return x.hashCookie(p)
	case p.SourceIP:
		client := s.Format.Client.Addr()
		if !client.IsValid() && s.Info.Conn != nil {
			client = s.Info.Conn.Remote.Addr()
		}
		if !client.IsValid() {
			return 0, false
		}
		var buf [64]byte
		return xxhash.Sum64(client.AppendTo(buf[:0])), true
	case p.QueryParameter != "":
		_, query, _ := strings.Cut(s.Request.Path, "?")
		query, _, _ = strings.Cut(query, "#")
		v, found := match.QueryValue(query, p.QueryParameter)
		return xxhash.Sum64String(v), found
	case p.FilterState != "":
		return hashState(s.Info.FilterState[p.FilterState])
	}
	return 0, false
}

// hashState hashes an object of the filter state: a string, or what has a hash of its own.
func hashState(v any) (uint64, bool) {
	switch v := v.(type) {
	case string:
		return xxhash.Sum64String(v), true
	case interface{ Hash() (uint64, bool) }:
		return v.Hash()
	}
	return 0, false
}

// hashHeader hashes the values of a header; several in sorted order, so that theirs does not matter.
func hashHeader(p *model.HashPolicy, s *filter.Stream) (uint64, bool) {
	first, ok := s.Request.Lookup(p.Header)
	if !ok {
		return 0, false
	}
	values := valuesOf(&s.Request.Headers, p.Header)
	if len(values) < 2 {
		return xxhash.Sum64String(rewritten(p.HeaderRewrite, first)), true
	}
	for i := range values {
		values[i] = rewritten(p.HeaderRewrite, values[i])
	}
	slices.Sort(values)
	return xxhash.Sum64String(strings.Join(values, "")), true
}

// valuesOf returns the values of a header that is there more than once, nil otherwise.
func valuesOf(h *message.Headers, name string) []string {
	id, n := message.IDOf(name), 0
	is := func(f *message.Field) bool {
		return f.ID == id && (id != message.Other || match.EqualFold(f.Name, name))
	}
	for f := range h.All() {
		if is(f) {
			n++
		}
	}
	if n < 2 {
		return nil
	}
	values := make([]string, 0, n)
	for f := range h.All() {
		if is(f) {
			values = append(values, f.Value)
		}
	}
	return values
}

func rewritten(rw *model.RegexRewrite, v string) string {
	if rw == nil {
		return v
	}
	return rw.Regex.ReplaceAllString(v, rw.Substitution)
}

// hashCookie hashes a cookie. One that is missing is made, if the policy says for how long, from the addresses of the
// connection, so that requests that race on it get the same.
func (x *exchange) hashCookie(p *model.HashPolicy) (uint64, bool) {
	v := cookieValue(&x.s.Request.Headers, p.Cookie)
	if v == "" && p.CookieTTL >= 0 {
		c := x.s.Info.Conn
		if c == nil {
			return 0, false
		}
		v = strconv.FormatUint(xxhash.Sum64String(c.Remote.String()+c.Local.String()), 16)
		v = strings.Repeat("0", 16-len(v)) + v
		x.cookies = append(x.cookies, setCookie(p, v))
	}
	if v == "" {
		return 0, false
	}
	return xxhash.Sum64String(v), true
}

// setCookie renders a set-cookie header (RFC 6265 section 4.1).
func setCookie(p *model.HashPolicy, value string) string {
	var b strings.Builder
	b.WriteString(p.Cookie + `="` + value + `"`)
	if p.CookieTTL > 0 {
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64(p.CookieTTL/time.Second), 10))
	}
	if p.CookiePath != "" {
		b.WriteString("; Path=" + p.CookiePath)
	}
	for _, a := range p.CookieAttributes {
		b.WriteString("; " + a.Name)
		if a.Value != "" {
			b.WriteString("=" + a.Value)
		}
	}
	b.WriteString("; HttpOnly")
	return b.String()
}

// cookieValue finds a cookie by name, without the quotes around its value; "" when there is none.
func cookieValue(h *message.Headers, name string) string {
	for f := range h.All() {
		if f.ID != message.Cookie {
			continue
		}
		for pair := range strings.SplitSeq(f.Value, ";") {
			k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || k != name {
				continue
			}
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			return v
		}
	}
	return ""
}
