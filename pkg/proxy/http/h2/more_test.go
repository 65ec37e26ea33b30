package h2

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestGoClientWithManyStreams(t *testing.T) {
	h := &handler{serve: func(s codec.ServerStream) {
		r := s.Request()
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: r.ContentLength, Body: r.Body})
	}}
	c, _, _ := serve(t, ServerOptions{}, h)
	tr := &http2.Transport{AllowHTTP: true, DisableCompression: true}
	cc, err := tr.NewClientConn(c)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := strings.Repeat("w", 1+i*4000)
			req, err := http.NewRequestWithContext(context.Background(), "POST", "http://a/", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := cc.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
				t.Errorf("%d of %d bytes, %v", len(got), len(body), err)
			}
		})
	}
	wg.Wait()
}

func TestHeadersBeyondTheRules(t *testing.T) {
	many := append([]string{}, get...)
	for range 101 {
		many = append(many, "a", "b")
	}
	cases := []struct {
		name, status, reason string
		opt                  ServerOptions
		fields               []string
	}{
		{"too many", "431", "too_many_headers", ServerOptions{}, many},
		{"no authority", "400", "missing_host", ServerOptions{}, []string{":method", "GET", ":scheme", "http", ":path", "/"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := &handler{serve: func(codec.ServerStream) { t.Errorf("the handler was called") }}
			nc, _, _ := serve(t, c.opt, h)
			fr := rawClient(t, nc, c.fields...)
			for {
				f, err := fr.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				if m, ok := f.(*http2.MetaHeadersFrame); ok {
					if m.PseudoValue("status") != c.status || len(h.errs) != 1 || h.errs[0] != c.reason {
						t.Errorf("status %s, errors %v", m.PseudoValue("status"), h.errs)
					}
					return
				}
			}
		})
	}
}

func TestUpgradeBecomesExtendedConnect(t *testing.T) {
	a, b := conntest.Sockets(t)
	var wg sync.WaitGroup
	wg.Go(func() { acceptTunnel(t, b) })
	defer wg.Wait()
	defer a.Close()
	cc := connect(t, a, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	pr, pw := io.Pipe()
	defer pw.Close()
	req := &message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/ws", Protocol: "websocket", ContentLength: -1, Body: pipeBody{pr}}
	var resp message.Response
	if err := st.RoundTrip(req, &resp, nil); err != nil || !resp.Upgraded {
		t.Fatalf("%+v, %v", resp, err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "hello" {
		t.Errorf("%q, %v", buf, err)
	}
}

// acceptTunnel offers extended CONNECT and answers one with "hello".
func acceptTunnel(t *testing.T, c net.Conn) {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, len(preface))); err != nil {
		return
	}
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		m, ok := f.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		if m.PseudoValue("method") != "CONNECT" || m.PseudoValue("protocol") != "websocket" || m.PseudoValue("path") != "/ws" {
			t.Errorf("request %v", m.Fields)
		}
		var block bytes.Buffer
		_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: m.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
		_ = fr.WriteData(m.StreamID, false, []byte("hello"))
	}
}
