package grpchttp1bridge

import (
	"io"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/filtertest"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestBridge(t *testing.T) {
	const grpc, protobuf = "application/grpc", "application/x-protobuf"
	framed := "\x00\x00\x00\x00\x02hi"
	cases := []struct {
		name        string
		cfg         Config
		version     message.Version
		contentType string
		body        string
		trailers    message.Headers

		wantSent, wantPath string
		wantStatus         int
		wantHeaders        string
		wantBody           string
		charged            string
	}{
		{
			"good call",
			Config{},
			message.HTTP11, grpc, framed, filtertest.Headers("grpc-status", "0"),
			framed, "/s/m?q", 200, "content-type=application/grpc grpc-status=0 content-length=7", framed, "success",
		},
		{
			"failed call",
			Config{IgnoreQuery: true},
			message.HTTP11, grpc, framed, filtertest.Headers("grpc-status", "7", "grpc-message", "no"),
			framed, "/s/m", 503, "content-type=application/grpc grpc-status=7 grpc-message=no content-length=7", framed, "failure",
		},
		{
			"status that is none",
			Config{},
			message.HTTP11, grpc, framed, filtertest.Headers("grpc-status", "x"),
			framed, "/s/m?q", 503, "content-type=application/grpc grpc-status=x content-length=7", framed, "failure",
		},
		{
			"protobuf is framed",
			Config{UpgradeProtobuf: true},
			message.HTTP11, protobuf, "hi", filtertest.Headers("grpc-status", "0"),
			framed, "/s/m?q", 200, "content-type=application/x-protobuf grpc-status=0 content-length=2", "hi", "success",
		},
		{
			"protobuf without upgrade",
			Config{},
			message.HTTP11, protobuf, "hi",
			message.Headers{},
			"hi", "/s/m?q", 200, "content-type=application/grpc", framed, "",
		},
		{
			"HTTP/2",
			Config{IgnoreQuery: true},
			message.HTTP2, grpc, framed, filtertest.Headers("grpc-status", "0"),
			framed, "/s/m?q", 200, "content-type=application/grpc", framed, "success",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := stats.NewStore()
			d := filtertest.Deps(store, "bridge")
			d.Clusters = filtertest.Clusters{"backend": filtertest.NewCluster(store, "backend")}
			f, err := c.cfg.NewHTTP(d)
			if err != nil {
				t.Fatal(err)
			}
			req := &message.Request{
				Method: "POST", Path: "/s/m?q", Version: c.version, ContentLength: int64(len(c.body)), Body: filtertest.Body(nil, c.body),
				Headers: filtertest.Headers("content-type", c.contentType),
			}
			var sent string
			var length int64
			run := filtertest.New(t, req, func(s *filter.Stream) (*message.Response, error) {
				b, err := io.ReadAll(s.Request.Body)
				if err != nil {
					return nil, err
				}
				sent, length = string(b), s.Request.ContentLength
				s.Response.Reset()
				s.Response.Status, s.Response.Headers = 200, filtertest.Headers("content-type", grpc)
				s.Response.ContentLength = -1
				s.Response.Body = filtertest.Body(&c.trailers, framed[:3], framed[3:])
				return s.Response, nil
			})
			resp, err := run.Through(f)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var headers []string
			for h := range resp.Headers.All() {
				headers = append(headers, h.Name+"="+h.Value)
			}
			if sent != c.wantSent || length != int64(len(sent)) || req.Path != c.wantPath {
				t.Errorf("sent %q (%d) to %s", sent, length, req.Path)
			}
			if got := strings.Join(headers, " "); resp.Status != c.wantStatus || got != c.wantHeaders || string(body) != c.wantBody {
				t.Errorf("got %d %s %q", resp.Status, got, body)
			}
			for _, name := range []string{"success", "failure"} {
				if n := filtertest.Counter(store, "cluster.backend.grpc.s.m."+name); (n == 1) != (name == c.charged) {
					t.Errorf("%s is %d", name, n)
				}
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	store := stats.NewStore()
	d := filtertest.Deps(store, "bridge")
	d.BufferLimit, d.Clusters = 4, filtertest.Clusters{}
	f, err := (&Config{UpgradeProtobuf: true}).NewHTTP(d)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(body string) (*filtertest.Run, *message.Response) {
		req := &message.Request{Path: "/s/m", Version: message.HTTP11, ContentLength: -1, Body: filtertest.Body(nil, body), Headers: filtertest.Headers("content-type", "application/x-protobuf")}
		run := filtertest.New(t, req, func(s *filter.Stream) (*message.Response, error) {
			s.Response.Status, s.Response.ContentLength = 200, -1
			s.Response.Body = filtertest.Body(nil, "too long")
			return s.Response, nil
		})
		resp, err := run.Through(f)
		if err != nil {
			t.Fatal(err)
		}
		return run, resp
	}
	if run, resp := ask("too long"); resp.Status != 413 || run.Info.Details != "request_payload_too_large" {
		t.Errorf("request: %d %s", resp.Status, run.Info.Details)
	}
	if run, resp := ask("ok"); resp.Status != 500 || run.Info.Details != "response_payload_too_large" || filtertest.Counter(store, "http.test.rs_too_large") != 1 {
		t.Errorf("response: %d %s", resp.Status, run.Info.Details)
	}
}
