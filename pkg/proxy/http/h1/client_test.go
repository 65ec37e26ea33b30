package h1

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

func newRequest(method, path, body string) *message.Request {
	r := &message.Request{Method: method, Path: path, Authority: "example.com", Scheme: "http"}
	if body != "" {
		r.Body, r.ContentLength = message.NewString(body), int64(len(body))
	}
	return r
}

// connect makes a client connection to addr; released collects whether it could be used again.
func connect(t *testing.T, addr string, opt ClientOptions) (cc *ClientConn, released *[]bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	released = new([]bool)
	opt.Release = func(left codec.Fate) { *released = append(*released, left == codec.Reusable) }
	cc = NewClientConn(c, opt)
	t.Cleanup(func() { cc.Close() })
	return cc, released
}

// exchange does one request and returns the status and the body.
func exchange(t *testing.T, cc *ClientConn, req *message.Request) (int, string, error) {
	t.Helper()
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var resp message.Response
	if err := st.RoundTrip(req, &resp, nil); err != nil {
		return 0, "", err
	}
	if resp.Body == nil {
		return resp.Status, "", nil
	}
	b, err := io.ReadAll(resp.Body)
	return resp.Status, string(b), err
}

func TestClientReusesTheConnection(t *testing.T) {
	addr := listen(t, options(), &handler{serve: echo})
	cc, released := connect(t, addr, ClientOptions{})
	for i, size := range []int{0, 10, 1000, 70_000, 2_000_000} {
		body := strings.Repeat("x", size)
		status, got, err := exchange(t, cc, newRequest("POST", "/p", body))
		if size == 0 {
			body = "POST /p"
		}
		if err != nil || status != 200 || got != body {
			t.Fatalf("size %d: status %d, %d bytes, %v", size, status, len(got), err)
		}
		if len(*released) != i+1 || !(*released)[i] {
			t.Fatalf("size %d: released %v", size, *released)
		}
	}
}

func wantProtocolError(t *testing.T, err error, reason string) {
	t.Helper()
	var ue *upstream.Error
	var bad *codec.Error
	if !errors.As(err, &ue) || ue.Kind != upstream.KindProtocol || !errors.As(err, &bad) || bad.Reason != reason {
		t.Errorf("got %v, want a protocol error %s", err, reason)
	}
}

func wantTermination(t *testing.T, err error, before, reused bool) {
	t.Helper()
	var ue *upstream.Error
	if !errors.As(err, &ue) || ue.Kind != upstream.KindTermination || ue.BeforeResponse != before || ue.Reused != reused {
		t.Errorf("got %#v (%v), want a termination, before %v reused %v", ue, err, before, reused)
	}
}
