package h1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// cut is a connection that gives its input in random pieces and keeps what is written.
type cut struct {
	net.Conn
	in  []byte
	rnd *rand.Rand
	out bytes.Buffer
}

func (c *cut) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+c.rnd.IntN(40))], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *cut) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *cut) Close() error                { return nil }

func (c *cut) SetDeadline(time.Time) error      { return nil }
func (c *cut) SetReadDeadline(time.Time) error  { return nil }
func (c *cut) SetWriteDeadline(time.Time) error { return nil }

func newCut(in []byte, seed uint64) *cut {
	return &cut{in: in, rnd: rand.New(rand.NewPCG(seed, 1))}
}

// lent is a cut that gives buffers back while it waits, or not.
type lent struct{ *cut }

// ReadLent implements lentReader.
func (c lent) ReadLent(l conn.Lender) (int, error) {
	for range c.rnd.IntN(3) {
		l.Lend()
		l.TakeBack()
	}
	return c.Read(l.Lend())
}

// captured is a message as a test compares it.
type captured struct {
	method, host, target string
	fields, body         string
	whole                bool
}

// capture serves what is in and returns the requests that a handler saw, each sent on by the client writer too.
func capture(in []byte, seed uint64) (seen []captured, sentOn [][]byte) {
	opt := ServerOptions{HTTP1: model.HTTP1Options{AllowAbsoluteURL: true, EnableTrailers: true}, LingerTimeout: 1}
	var nc net.Conn = newCut(in, seed)
	if seed&1 != 0 {
		nc = lent{newCut(in, seed)}
	}
	_ = NewServer(nc, opt).Serve(context.Background(), &handler{serve: func(s codec.ServerStream) {
		r := s.Request()
		if r.Protocol != "" || r.Method == "CONNECT" {
			return
		}
		m := captured{method: strings.Clone(r.Method), host: strings.Clone(r.Authority), target: strings.Clone(r.Path), whole: true}
		m.fields = fieldsOf(func(yield func(name, value string)) {
			for f := range r.Headers.All() {
				yield(f.Name, f.Value)
			}
		})
		if r.Body != nil {
			b, err := io.ReadAll(r.Body)
			m.body, m.whole = string(b), err == nil
			r.Body = message.NewString(m.body)
		}
		seen = append(seen, m)
		if m.whole {
			sentOn = append(sentOn, forward(r))
		}
		_ = s.WriteResponse(&message.Response{Status: 204})
	}})
	return seen, sentOn
}

// forward is r as the client side writes it.
func forward(r *message.Request) []byte {
	out := newCut([]byte("HTTP/1.1 204 N\r\n\r\n"), 1)
	cc := NewClientConn(out, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		panic(err)
	}
	var resp message.Response
	_ = st.RoundTrip(r, &resp, nil)
	st.Close() // waits for what a goroutine still sends
	return out.out.Bytes()
}

// FuzzRequest checks that whatever the parser accepts is sent on as one request that net/http reads in the same way, and
// that the cuts between reads make no difference.
func FuzzRequest(f *testing.F) {
	for _, c := range malformedRequests {
		f.Add([]byte(strings.ReplaceAll(c.in, "~", "\r\n")), uint64(1))
	}
	for _, c := range acceptedRequests {
		f.Add([]byte(strings.ReplaceAll(c.in, "~", "\r\n")), uint64(2))
	}
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\na: b\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n"), uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		seen, sentOn := capture(in, seed)
		again, _ := capture(in, seed+1)
		if len(seen) != len(again) {
			t.Fatalf("%d requests with one cut, %d with another", len(seen), len(again))
		}
		for i := range seen {
			if seen[i].whole && seen[i] != again[i] {
				t.Fatalf("%+v with one cut, %+v with another", seen[i], again[i])
			}
		}
		for i, raw := range sentOn {
			sameForGo(t, seen[i], raw)
		}
	})
}

// fieldsOf lists fields by name, without those that the two sides treat apart from the headers.
func fieldsOf(all func(yield func(name, value string))) string {
	var list []string
	all(func(name, value string) {
		switch name = strings.ToLower(name); name {
		case "content-length", "connection", "trailer", "upgrade":
		default:
			list = append(list, name+": "+value+"\n")
		}
	})
	slices.SortStableFunc(list, func(a, b string) int {
		a, _, _ = strings.Cut(a, ":")
		b, _, _ = strings.Cut(b, ":")
		return strings.Compare(a, b)
	})
	return strings.Join(list, "")
}

// sameForGo compares with net/http's reading. Some requests are beyond its own, stricter taste in URLs.
func sameForGo(t *testing.T, want captured, raw []byte) {
	br := bufio.NewReader(bytes.NewReader(raw))
	r, err := http.ReadRequest(br)
	if err != nil {
		if strings.Contains(err.Error(), "parse ") || strings.Contains(err.Error(), "invalid method") || strings.Contains(err.Error(), "malformed Host") {
			return
		}
		t.Fatalf("net/http: %v in %q", err, raw)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("net/http: %v in %q", err, raw)
	}
	fields := fieldsOf(func(yield func(name, value string)) {
		for name, values := range r.Header {
			for _, v := range values {
				yield(name, v)
			}
		}
	})
	if r.Method != want.method || r.Host != want.host || fields != want.fields || string(body) != want.body {
		t.Fatalf("net/http reads %s %s %q %q, want %+v", r.Method, r.Host, fields, body, want)
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Fatalf("%q follows the request %q", rest, raw)
	}
}

// FuzzResponse checks that what the client side accepts is the body that net/http reads.
func FuzzResponse(f *testing.F) {
	for _, c := range malformedResponses {
		f.Add([]byte(strings.ReplaceAll(c.in, "~", "\r\n")), uint64(1))
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), uint64(2))
	f.Add([]byte("HTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), uint64(3))
	f.Add([]byte("HTTP/1.0 200\r\n\r\nabc"), uint64(4))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		c := newCut(in, seed)
		cc := NewClientConn(c, ClientOptions{})
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		var resp message.Response
		infos := 0
		if st.RoundTrip(newRequest("GET", "/", ""), &resp, func(*message.Response) { infos++ }) != nil {
			return
		}
		var body []byte
		if resp.Body != nil {
			if body, err = io.ReadAll(resp.Body); err != nil {
				return
			}
		}
		br := bufio.NewReader(bytes.NewReader(in))
		for range infos {
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatalf("net/http: %v", err)
			}
		}
		hr, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		want, err := io.ReadAll(hr.Body)
		if err != nil || hr.StatusCode != resp.Status || !bytes.Equal(want, body) {
			t.Fatalf("net/http reads %d %q (%v), we %d %q", hr.StatusCode, want, err, resp.Status, body)
		}
	})
}

// FuzzChunked checks the decoder against net/http's, where ours accepts.
func FuzzChunked(f *testing.F) {
	for _, c := range malformedChunks {
		f.Add([]byte(strings.ReplaceAll(c.in, "~", "\r\n")), uint64(1))
	}
	f.Add([]byte("3\r\nabc\r\n00a;x=\"y\"\r\n0123456789\r\n0\r\n\r\n"), uint64(2))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		got, ok := decode(in, seed, 16)
		if again, okAgain := decode(in, seed+1, 100_000); ok != okAgain || ok && got != again {
			t.Fatalf("%q %v with one cut, %q %v with another", got, ok, again, okAgain)
		}
		if !ok {
			return
		}
		head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(head), bytes.NewReader(in))), nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(resp.Body)
		if err != nil && strings.Contains(err.Error(), "too much overhead") {
			return
		}
		if err != nil || string(want) != got {
			t.Fatalf("net/http reads %q (%v), we %q", want, err, got)
		}
	})
}

// noOwner is a bodyOwner for a body without a stream.
type noOwner struct{ n atomic.Int64 }

func (*noOwner) beforeRead() error          { return nil }
func (*noOwner) readFailed(err error) error { return err }
func (o *noOwner) countBody(n int)          { o.n.Add(int64(n)) }
func (*noOwner) wakeReader()                {}

func decode(in []byte, seed uint64, size int) (string, bool) {
	rd := reader{conn: newCut(in, seed), bufs: NewBuffers()}
	var b body
	b.init(&rd, &noOwner{}, limits{}.withDefaults())
	b.reset(framedChunks, 0, true)
	var out []byte
	buf := make([]byte, size)
	for {
		b.Buffered()
		n, err := b.Read(buf)
		out = append(out, buf[:n]...)
		if err != nil {
			return string(out), err == io.EOF
		}
	}
}

// TestRandomCuts sends bodies of random sizes through writer and parser, both framings, with random cuts.
func TestRandomCuts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range 300 {
		size := rnd.IntN(1 << (1 + rnd.IntN(17)))
		data := make([]byte, size)
		for j := range data {
			data[j] = byte(rnd.Uint32())
		}
		r := newRequest("POST", "/", "")
		r.Body, r.ContentLength = message.NewBytes(data), int64(size)
		if i%2 == 0 {
			r.ContentLength = -1
		}
		raw := forward(r)
		seen, _ := capture(append(bytes.Clone(raw), raw...), uint64(i))
		if size == 0 && i%2 == 1 {
			data = nil
		}
		if len(seen) == 0 || seen[0].body != string(data) || !seen[0].whole {
			t.Fatalf("case %d, %d bytes: %d requests", i, size, len(seen))
		}
		if len(seen) != 2 || seen[1].body != string(data) {
			t.Fatalf("case %d, %d bytes: second request %d", i, size, len(seen))
		}
	}
}
