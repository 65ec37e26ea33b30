package hcm_test

import (
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/h2"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// schemes is an HTTP/2 handler that tells the scheme of a request.
type schemes struct{}

// ServeStream implements codec.Handler.
func (schemes) ServeStream(s codec.ServerStream) {
	resp := &message.Response{Status: 200}
	resp.Headers.Add("x-scheme", s.Request().Scheme)
	_ = s.WriteResponse(resp) // the client sees it
}

// ServeError implements codec.Handler.
func (schemes) ServeError(s codec.ServerStream, err *codec.Error) { s.Reset(err) }

// Idle implements codec.Handler.
func (schemes) Idle(bool) {}

// TestSchemeTransformation looks at the :scheme that reaches an HTTP/2 upstream without TLS.
func TestSchemeTransformation(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  func(*model.HTTPConnectionManager)
		want string
	}{
		{"as forwarded", func(*model.HTTPConnectionManager) {}, "https"},
		{"as the upstream", func(c *model.HTTPConnectionManager) { c.SchemeMatchUpstream = true }, "http"},
		{"overwritten", func(c *model.HTTPConnectionManager) { c.SchemeOverwrite = "https" }, "https"},
		{"overwritten first", func(c *model.HTTPConnectionManager) { c.SchemeOverwrite, c.SchemeMatchUpstream = "https", true }, "https"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			web := static("web", raw(t, func(c net.Conn, _ int) { _ = h2.NewServer(c, h2.ServerOptions{}).Serve(t.Context(), schemes{}) }))
			web.HTTP.Protocol = model.UpstreamHTTP2
			p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
				cfg: tc.cfg, clusters: map[string]*model.Cluster{"web": web},
			})
			resp, _ := p.do(get("/", "x-forwarded-proto: https"))
			if got := resp.Header.Get("x-scheme"); got != tc.want {
				t.Errorf("scheme %q, want %q", got, tc.want)
			}
		})
	}
}
