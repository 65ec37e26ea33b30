package h2

import (
	"io"
	"net/http"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/test/await"
)

// TestResponsesOutliveTheirBuffers: x/net encodes small responses when the handler has returned.
func TestResponsesOutliveTheirBuffers(t *testing.T) {
	h := &handler{serve: func(s codec.ServerStream) {
		buf := []byte("x-own-namevaluetrailer")
		text := unsafe.String(unsafe.SliceData(buf), len(buf)) // as the codecs make them of their buffers
		r := &message.Response{Status: 200, ContentLength: -1}
		r.Headers.Add(text[:10], text[10:15])
		body := &trailing{Bytes: *message.NewString("body"), t: &message.Headers{}}
		body.t.Add(text[:10], text[15:])
		r.Body = body
		if err := s.WriteResponse(r); err != nil {
			t.Error(err)
		}
		clear(buf)
	}}
	c, _, _ := serve(t, ServerOptions{}, h)
	if err := c.SetDeadline(time.Now().Add(await.Patience)); err != nil {
		t.Fatal(err)
	}
	cc, err := (&http2.Transport{AllowHTTP: true, DisableCompression: true}).NewClientConn(c)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://a/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if head, trailer := resp.Header.Get("x-own-name"), resp.Trailer.Get("x-own-name"); err != nil || string(body) != "body" || head != "value" || trailer != "trailer" {
		t.Errorf("got %q %v, head %q, trailer %q", body, err, head, trailer)
	}
}
