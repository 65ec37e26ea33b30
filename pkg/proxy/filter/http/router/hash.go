package httprouter

import (
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// hash combines what the policies say about the request. A cookie that is missing is made, if its policy says for how long.
func (x *exchange) hash(policies []model.HashPolicy) (sum uint64, ok bool) {
	return match.Hash(policies, x.s.Request, x.s.Info, x.makeCookie)
}

// makeCookie makes a cookie from the addresses of the connection, so that requests that race on it get the same.
func (x *exchange) makeCookie(p *model.HashPolicy) string {
	c := x.s.Info.Conn
	if p.CookieTTL < 0 || c == nil {
		return ""
	}
	v := strconv.FormatUint(xxhash.Sum64String(c.Remote.String()+c.Local.String()), 16)
	v = strings.Repeat("0", 16-len(v)) + v
	x.cookies = append(x.cookies, setCookie(p, v))
	return v
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
