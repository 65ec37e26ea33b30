package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/filtertest"
	"github.com/weir-proxy/weir/pkg/proxy/filter/grpcstat"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func frame(flag byte, payload string) string {
	n := len(payload)
	return string([]byte{flag, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + payload
}

const trailerText = "grpc-status:0\r\ngrpc-message:ok\r\n"

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestCalls(t *testing.T) {
	one, two := frame(0, "hello"), frame(0, "a longer message than that")
	cases := []struct {
		name, contentType, accept string
		request                   []string
		wantRequest, wantType     string
		wantBody                  string
	}{
		{
			"binary", "application/grpc-web+proto", "",
			[]string{one},
			one, "application/grpc-web+proto",
			one + two + frame(0x80, trailerText),
		},
		{
			"text both ways", "application/grpc-web-text", "application/grpc-web-text",
			[]string{encode(one)},
			one, "application/grpc-web-text+proto",
			encode(one) + encode(two) + encode(frame(0x80, trailerText)),
		},
		{
			"text in pieces, each message by itself", "application/grpc-web-text+proto", "",
			[]string{encode(one)[:3], encode(one)[3:] + encode(two)[:1], encode(two)[1:]},
			one + two, "application/grpc-web+proto", one + two + frame(0x80, trailerText),
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := stats.NewStore()
			d := filtertest.Deps(store, "web")
			d.Clusters = filtertest.Clusters{"backend": filtertest.NewCluster(store, "backend")}
			f, err := (&Config{}).NewHTTP(d)
			if err != nil {
				t.Fatal(err)
			}
			req := &message.Request{
				Method: "POST", Path: "/pkg.Service/Call", ContentLength: 9, Body: filtertest.Body(nil, c.request...),
				Headers: filtertest.Headers("content-type", c.contentType, "accept", c.accept, "content-length", "9"),
			}
			down := filtertest.Headers("grpc-status", "0", "Grpc-Message", "ok")
			var got string
			run := filtertest.New(t, req, func(s *filter.Stream) (*message.Response, error) {
				b, err := io.ReadAll(s.Request.Body)
				if err != nil {
					return nil, err
				}
				got = string(b)
				s.Response.Reset()
				s.Response.Status, s.Response.Headers = 200, filtertest.Headers("content-type", "application/grpc")
				s.Response.Body = filtertest.Body(&down, one[:7], one[7:]+two[:1], two[1:])
				return s.Response, nil
			})
			resp, err := run.Through(f)
			if err != nil {
				t.Fatal(err)
			}
			h := &req.Headers
			if got != c.wantRequest || h.Get(message.ContentType) != "application/grpc" || h.Get(message.TE) != "trailers" ||
				h.Get(message.GRPCAcceptEncoding) != "identity,deflate,gzip" || h.Has(message.ContentLength) || req.ContentLength != -1 {
				t.Errorf("request %q with %v", got, h)
			}
			body, err := io.ReadAll(iotest.OneByteReader(resp.Body))
			if err != nil {
				t.Fatal(err)
			}
			if string(body) != c.wantBody || resp.Headers.Get(message.ContentType) != c.wantType || resp.Body.Trailers() != nil || resp.ContentLength != -1 {
				t.Errorf("body %q, want %q; type %s", body, c.wantBody, resp.Headers.Get(message.ContentType))
			}
			for _, name := range []string{"0", "success", "total"} {
				if n := filtertest.Counter(store, "cluster.backend.grpc-web.pkg.Service.Call."+name); n != 1 {
					t.Errorf("%s is %d", name, n)
				}
			}
		})
	}
}

func TestBadBase64(t *testing.T) {
	for body, details := range map[string]string{
		"AAAA!AAA": "grpc_base_64_decode_failed", "AAAAA": "grpc_base_64_decode_failed_bad_size", "AA\r\nAA==": "grpc_base_64_decode_failed",
		"A===": "grpc_base_64_decode_failed", "AB==": "grpc_base_64_decode_failed",
	} {
		f, err := (&Config{}).NewHTTP(filter.Deps{Clusters: filtertest.Clusters{}})
		if err != nil {
			t.Fatal(err)
		}
		req := &message.Request{Path: "/a/b", Body: filtertest.Body(nil, body), Headers: filtertest.Headers("content-type", "application/grpc-web-text")}
		run := filtertest.New(t, req, func(s *filter.Stream) (*message.Response, error) {
			_, err := io.ReadAll(s.Request.Body)
			return nil, err
		})
		resp, err := run.Through(f)
		if err != nil || resp.Status != 400 || run.Info.Details != details {
			t.Errorf("%q: %v, %v, %q", body, resp, err, run.Info.Details)
		}
	}
}

func TestResponsesThatAreNotGRPC(t *testing.T) {
	f, err := (&Config{}).NewHTTP(filter.Deps{Clusters: filtertest.Clusters{}})
	if err != nil {
		t.Fatal(err)
	}
	req := &message.Request{Path: "/a/b", Headers: filtertest.Headers("content-type", "application/grpc-web")}
	run := filtertest.New(t, req, func(s *filter.Stream) (*message.Response, error) {
		s.Response.Status, s.Response.Headers = 503, filtertest.Headers("content-type", "text/html")
		s.Response.Body = filtertest.Body(nil, "<b>50%</b>\n", strings.Repeat("x", maxMessage))
		return s.Response, nil
	})
	resp, err := run.Through(f)
	if err != nil {
		t.Fatal(err)
	}
	h := &resp.Headers
	if h.Get(message.GRPCStatus) != "14" || !strings.HasPrefix(h.Get(message.GRPCMessage), "<b>50%25</b>%0Axxx") || resp.Body != nil ||
		h.Get(message.ContentType) != "application/grpc-web+proto" || len(h.Get(message.GRPCMessage)) != maxMessage+4 {
		t.Errorf("%+v", resp)
	}
}

func TestOthersAreLeftAlone(t *testing.T) {
	f, err := (&Config{}).NewHTTP(filter.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	req := &message.Request{Path: "/", Headers: filtertest.Headers("content-type", "application/grpc")}
	resp, err := filtertest.New(t, req, nil).Through(f)
	if err != nil || resp.Headers.Len() != 0 || req.Headers.Len() != 1 {
		t.Errorf("%+v, %v", resp, err)
	}
}

// FuzzText checks that whatever comes is decoded to what was encoded, however it is cut, and that the text form of a
// response decodes to it.
func FuzzText(f *testing.F) {
	f.Add([]byte("hello"), uint64(1), []byte("AAAA"))
	f.Add([]byte{}, uint64(2), []byte("A==="))
	f.Add(bytes.Repeat([]byte{0, 0, 0, 0, 3, 1, 2, 3}, 20), uint64(3), []byte("=\n"))
	f.Fuzz(func(t *testing.T, payload []byte, seed uint64, raw []byte) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		cut := func(s string) message.Body {
			var pieces []string
			for s != "" {
				n := 1 + rnd.IntN(len(s))
				pieces, s = append(pieces, s[:n]), s[n:]
			}
			return filtertest.Body(nil, pieces...)
		}
		got, err := io.ReadAll(&textBody{Body: cut(encode(string(payload)) + encode("x"))})
		if err != nil || string(got) != string(payload)+"x" {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := io.ReadAll(&textBody{Body: cut(string(raw))}); errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		out, err := io.ReadAll(newFramed(cut(string(payload)), true, grpcstat.Call{}))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(&textBody{Body: cut(string(out))}); err != nil || !bytes.Equal(back, payload) {
			t.Fatalf("%q became %q, %v", payload, back, err)
		}
	})
}
