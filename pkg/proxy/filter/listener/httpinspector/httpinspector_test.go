package httpinspector

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// client sends one byte more for each Peek that needs more, and then nothing, or the end.
type client struct {
	data  string
	there int
	stays error // what comes instead of the end
}

func (c *client) Peek(ctx context.Context, n int) ([]byte, error) {
	for c.there < n {
		if c.there == len(c.data) {
			if c.stays != nil {
				return []byte(c.data), c.stays
			}
			return []byte(c.data), io.EOF
		}
		c.there++
	}
	return []byte(c.data[:c.there]), nil
}

func (c *client) Discard(int) error { return nil }

func TestInspect(t *testing.T) {
	for _, tc := range []struct {
		name, sent string
		want       string // protocol
		read       int    // bytes after which it is known; 0 is all
	}{
		{"http/1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP11, 15},
		{"line feed alone", "GET / HTTP/1.1\nHost: a\n\n", HTTP11, 15},
		{"http/1.0", "POST /a?b=c HTTP/1.0\r\n\r\n", HTTP10, 21},
		{"http/0.9", "GET /\r\n", HTTP10, 6},
		{"another version", "GET / HTTP/3.7\r\n", HTTP10, 15},
		{"absolute form", "GET http://a/ HTTP/1.1\r\n", HTTP11, 23},
		{"authority form", "CONNECT a:443 HTTP/1.1\r\n", HTTP11, 23},
		{"method that begins another one", "SEARCH / HTTP/1.1\r\n", HTTP11, 18},
		{"http/2", preface + "\x00\x00\x00", H2C, len(preface)},
		{"not quite http/2", "PRI * HTTP/2.0\r\n\r\nXX", "", 19},
		{"method that nobody knows", "HELLO / HTTP/1.1\r\n", "", 3},
		{"lower case", "get / HTTP/1.1\r\n", "", 1},
		{"mysql", "\x4a\x00\x00\x00\x0a8.0", "", 1},
		{"tls", "\x16\x03\x01", "", 1},
		{"redis", "*1\r\n$4\r\nPING\r\n", "", 1},
		{"no target", "GET  HTTP/1.1\r\n", "", 5},
		{"control character in the target", "GET /\x01 HTTP/1.1\r\n", "", 6},
		{"not a version", "GET / SMTP/1.1\r\n", "", 7},
		{"version goes on", "GET / HTTP/1.11\r\n", "", 15},
		{"ends in the line", "GET / HT", "", 0},
		{"line without an end", "GET /" + strings.Repeat("a", 2*MaxLine), "", MaxLine},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := stats.NewStore()
			c, info := &client{data: tc.sent}, &streaminfo.Connection{}
			verdict, err := New().WithStats(store.Root()).Inspect(t.Context(), c, info)
			if err != nil || verdict != filter.Continue {
				t.Fatalf("verdict %v, %v", verdict, err)
			}
			got := strings.Join(info.ALPN, ",")
			if tc.read == 0 {
				tc.read = len(tc.sent)
			}
			if got != tc.want || c.there != tc.read {
				t.Errorf("%q after %d bytes, want %q after %d", got, c.there, tc.want, tc.read)
			}
			name := map[string]string{HTTP10: "http10_found", HTTP11: "http11_found", H2C: "http2_found", "": "http_not_found"}[tc.want]
			if n := store.Root().Counter("http_inspector." + name).Value(); n != 1 {
				t.Errorf("%s is %d", name, n)
			}
		})
	}
}

func TestNothingToInspect(t *testing.T) {
	for _, tc := range []struct {
		name      string
		client    client
		transport string
		want      error
		errors    uint64
	}{
		{"tls", client{data: "\x16", stays: context.DeadlineExceeded}, "tls", nil, 0},
		{"closes at once", client{}, "", io.EOF, 0},
		{"stops", client{data: "GET ", stays: context.DeadlineExceeded}, "", context.DeadlineExceeded, 0},
		{"resets", client{data: "GET ", stays: syscall.ECONNRESET}, "raw_buffer", syscall.ECONNRESET, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := stats.NewStore()
			info := &streaminfo.Connection{TransportProtocol: tc.transport}
			_, err := New().WithStats(store.Root()).Inspect(t.Context(), &tc.client, info)
			if !errors.Is(err, tc.want) || len(info.ALPN) != 0 {
				t.Errorf("%v, found %q", err, info.ALPN)
			}
			if n := store.Root().Counter("http_inspector.read_error").Value(); n != tc.errors {
				t.Errorf("read_error is %d", n)
			}
		})
	}
}

// Whatever comes, it is told the same in pieces and as a whole.
func FuzzParse(f *testing.F) {
	for _, s := range []string{preface, "GET / HTTP/1.1\r\n", "GET /\n", "M-SEARCH * HTTP/1.0\r\n", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		all, known := parse(p)
		for n := range p {
			if part, early := parse(p[:n]); early && (!known || part != all) {
				t.Fatalf("%q: %q, but %q after %d bytes", p, all, part, n)
			}
		}
	})
}
