package buffer

import (
	"io"
	"strings"
	"testing"

	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/filtertest"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestBuffer(t *testing.T) {
	disabled := &PerRoute{Disabled: true}
	more := &PerRoute{Config: Config{MaxRequestBytes: 20}}
	cases := []struct {
		name     string
		pieces   []string
		length   int64
		protocol string
		override any
		status   int
		sent     int64 // content length of the request sent on
	}{
		{"chunked body gets a length", []string{"hello", " ", "world"}[:1], -1, "", nil, 200, 5},
		{"in pieces", []string{"ab", "cd", "ef"}, -1, "", nil, 200, 6},
		{"exactly the limit", []string{"0123456789"}, -1, "", nil, 200, 10},
		{"one byte more", []string{"0123456789", "x"}, -1, "", nil, 413, 0},
		{"announced too long", []string{"0123456789x"}, 11, "", nil, 413, 0},
		{"announced length stays", []string{"abc"}, 3, "", nil, 200, 3},
		{"disabled by the route", []string{"0123456789", "x"}, -1, "", disabled, 200, -1},
		{"more by the route", []string{"0123456789", "x"}, -1, "", more, 200, 11},
		{"upgrade", []string{"0123456789", "x"}, -1, "websocket", nil, 200, -1},
		{"no body", nil, 0, "", nil, 200, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := stats.NewStore()
			f, err := (&Config{MaxRequestBytes: 10}).NewHTTP(filtertest.Deps(store, "buf"))
			if err != nil {
				t.Fatal(err)
			}
			req := &message.Request{Method: "POST", Path: "/", ContentLength: c.length, Protocol: c.protocol}
			if c.pieces != nil {
				req.Body = filtertest.Body(nil, c.pieces...)
			}
			var sent int64
			var body string
			run := filtertest.New(t, req, func(s *filter.Stream) (*message.Response, error) {
				sent = s.Request.ContentLength
				if s.Request.Body != nil {
					b, err := io.ReadAll(s.Request.Body)
					if err != nil {
						return nil, err
					}
					body = string(b)
				}
				s.Response.Status = 200
				return s.Response, nil
			})
			if c.override != nil {
				run.Chosen.Route.PerFilter = map[string]*model.FilterOverride{"buf": {Config: c.override}}
			}
			resp, err := run.Through(f)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Status != c.status {
				t.Fatalf("status %d, want %d", resp.Status, c.status)
			}
			if c.status == 413 {
				if run.Info.Details != "request_payload_too_large" || filtertest.Counter(store, "http.test.downstream_rq_too_large") != 1 {
					t.Errorf("details %q, %d counted", run.Info.Details, filtertest.Counter(store, "http.test.downstream_rq_too_large"))
				}
				return
			}
			if want := strings.Join(c.pieces, ""); sent != c.sent || body != want {
				t.Errorf("sent %d, %q, want %d, %q", sent, body, c.sent, want)
			}
		})
	}
}

func TestBufferDoesNotAllocateWithoutBody(t *testing.T) {
	f, err := (&Config{MaxRequestBytes: 10}).NewHTTP(filtertest.Deps(stats.NewStore(), "buf"))
	if err != nil {
		t.Fatal(err)
	}
	run := filtertest.New(t, &message.Request{Method: "GET"}, nil)
	chain := []filter.HTTP{f, last{}}
	if n := testing.AllocsPerRun(100, func() {
		run.SetChain(chain)
		if _, err := run.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type last struct{}

func (last) Handle(s *filter.Stream) (*message.Response, error) { return s.Response, nil }

func TestDecode(t *testing.T) {
	if _, err := decode(&bufferv3.Buffer{}); err == nil {
		t.Error("no limit was accepted")
	}
	if c, err := decode(&bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(7)}); err != nil || c.MaxRequestBytes != 7 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := decodePerRoute(&bufferv3.BufferPerRoute{}); err == nil {
		t.Error("an empty override was accepted")
	}
	if o, err := decodePerRoute(&bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Disabled{Disabled: true}}); err != nil || !o.Disabled {
		t.Errorf("%+v, %v", o, err)
	}
}
