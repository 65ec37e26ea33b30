package h2

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// TestConnectionEndsWithinRequest ends the connection in order, but not the request: it must not look whole.
func TestConnectionEndsWithinRequest(t *testing.T) {
	type outcome struct {
		body string
		err  error
	}
	read := make(chan outcome, 1)
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		all, err := io.ReadAll(s.Request().Body)
		read <- outcome{string(all), err}
		s.Reset(err)
	}})
	w := greet(t, nc)
	w.open(1, false, with()...)
	w.must(w.WriteData(1, false, []byte("abc")))
	w.must(nc.(*net.TCPConn).CloseWrite())
	if got := <-read; got.body != "abc" || !errors.Is(got.err, io.ErrUnexpectedEOF) {
		t.Errorf("the handler read %q, %v", got.body, got.err)
	}
}

// TestResponsesCutShort have what came of them, and then an error.
func TestResponsesCutShort(t *testing.T) {
	for name, tc := range map[string]struct {
		cut  func(fr *http2.Framer, nc net.Conn) error
		kind upstream.Kind
	}{
		"by a reset":              {func(fr *http2.Framer, _ net.Conn) error { return fr.WriteRSTStream(1, http2.ErrCodeCancel) }, upstream.KindRemoteReset},
		"by the connection's end": {func(_ *http2.Framer, nc net.Conn) error { return nc.(*net.TCPConn).CloseWrite() }, upstream.KindTermination},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := conntest.Sockets(t)
			served := make(chan error, 1)
			go func() { served <- answerPart(b, tc.cut) }()
			cc := connect(t, a, ClientOptions{})
			st, err := cc.NewStream()
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			req, resp := &message.Request{Method: "GET", Scheme: "http", Authority: "h", Path: "/", Version: message.HTTP2}, &message.Response{}
			if err := st.RoundTrip(req, resp, nil); err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(resp.Body)
			if bad, ok := errors.AsType[*upstream.Error](err); string(all) != "part" || !ok || bad.Kind != tc.kind {
				t.Errorf("read %q, %v", all, err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// answerPart is a server that answers its first request in part, and then cuts it.
func answerPart(nc net.Conn, cut func(fr *http2.Framer, nc net.Conn) error) error {
	if _, err := io.ReadFull(nc, make([]byte, len(preface))); err != nil {
		return err
	}
	fr := http2.NewFramer(nc, nc)
	if err := fr.WriteSettings(); err != nil {
		return err
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return err
		}
		if _, ok := f.(*http2.HeadersFrame); ok {
			break
		}
	}
	const status200 = 0x88 // RFC 7541 appendix A
	if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{status200}, EndHeaders: true}); err != nil {
		return err
	}
	if err := fr.WriteData(1, false, []byte("part")); err != nil {
		return err
	}
	return cut(fr, nc)
}
