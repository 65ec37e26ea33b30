package hcm_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// bomb is a filter that panics where the path says.
type bomb struct{}

func (bomb) Handle(s *filter.Stream) (*message.Response, error) {
	switch s.Request.Path {
	case "/request":
		panic("of the request")
	case "/body":
		s.Request.Body = &explosive{Body: s.Request.Body}
	}
	resp, err := s.Next()
	switch {
	case err != nil:
	case s.Request.Path == "/response":
		panic("of the response")
	case s.Request.Path == "/response/body":
		resp.Body = &explosive{Body: resp.Body}
	}
	return resp, err
}

// explosive is a body that panics behind its first bytes.
type explosive struct {
	message.Body
	lit bool
}

func (b *explosive) Read(p []byte) (int, error) {
	if b.lit {
		panic("of the body")
	}
	b.lit = true
	return b.Body.Read(p[:1])
}

// TestPanicsStayWithinTheirConnection has filters panic where the goroutine is the connection's, a stream's, or that of
// an exchange, while a request of another connection is under way.
func TestPanicsStayWithinTheirConnection(t *testing.T) {
	paths := []string{"/request", "/response", "/response/body", "/body"}
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		if r.URL.Path == "/response" { // answered while the request is being sent
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "whole")
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "up"})), options{
		clusters: map[string]*model.Cluster{"up": static("up", up)}, filters: []*model.HTTPFilter{{Name: "bomb", Config: bomb{}}},
	})
	neighbour := make(chan error, 1)
	go func() {
		resp, err := http2Client(t, p.addr).Get("http://a/slow")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		neighbour <- err
	}()
	p.eventually("the neighbour's request is under way", func() bool { return p.counter("cluster.up.upstream_rq_active") == 1 })
	for i, path := range paths {
		var body io.Reader = strings.NewReader("some bytes")
		if path == "/response" {
			open, _ := io.Pipe()
			body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(body, open), open}
		}
		resp, err := http2Client(t, p.addr).Post("http://a"+path, "text/plain", body)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client got a whole response", path)
		}
		p.eventually(path+" is reported", func() bool { return p.panics.Load() == int64(i+1) })
		p.logged("POST " + path)
		p.eventually(path+" holds nothing", func() bool {
			return p.counter("http.test.downstream_rq_active") == 1 && p.counter("cluster.up.upstream_rq_active") == 1 &&
				p.counter("http.test.downstream_cx_active") == 1
		})
	}
	close(release)
	if err := <-neighbour; err != nil {
		t.Errorf("the neighbour got %v", err)
	}
	// On HTTP/1 the exchange's goroutine is the only one that is not the connection's.
	c := p.dial()
	c.send("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde")
	if b, err := io.ReadAll(c); strings.Contains(string(b), "200") {
		t.Errorf("HTTP/1 got %q, %v", b, err)
	}
	p.eventually("HTTP/1 is reported", func() bool { return p.panics.Load() == int64(len(paths)+1) })
}
