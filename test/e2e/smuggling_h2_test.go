package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/test/harness"
)

// emptyBody announces that nothing follows the head.
var emptyBody = []string{"content-length", "0"}

// forgedStreams are HTTP/2 requests that would be another request, or two, as HTTP/1. Fields are name and value in turn;
// they replace or follow the pseudo headers of a good request.
var forgedStreams = []struct {
	name   string
	fields []string
	body   string
}{
	{"H2.TE", []string{"transfer-encoding", "chunked"}, "0\r\n\r\n" + smuggled},
	{"H2.CL too short", emptyBody, smuggled},
	{"H2.CL too long", []string{"content-length", "1000"}, "abc"},
	{"H2.CL twice", []string{"content-length", "3", "content-length", "4"}, "abc"},
	{"connection", []string{"connection", "close"}, ""},
	{"upgrade", []string{"upgrade", "h2c"}, ""},
	{"keep-alive", []string{"keep-alive", "1"}, ""},
	{"proxy-connection", []string{"proxy-connection", "close"}, ""},
	{"TE other than trailers", []string{"te", "gzip"}, ""},
	{"line break in a value", []string{"a", "b\r\n\r\n" + smuggled}, ""},
	{"bare line feed in a value", []string{"a", "b\nc: d"}, ""},
	{"NUL in a value", []string{"a", "b\x00"}, ""},
	{"line break in a name", []string{"a: b\r\nc", "d"}, ""},
	{"colon in a name", []string{"transfer-encoding: chunked\r\na", "d"}, ""},
	{"space in a name", []string{"transfer-encoding ", "chunked"}, ""},
	{"capital in a name", []string{"Transfer-Encoding", "chunked"}, ""},
	{"line break in the path", []string{":path", "/ HTTP/1.1\r\nhost: x\r\n\r\n" + smuggled}, ""},
	{"space in the path", []string{":path", "/a HTTP/1.1"}, ""},
	{"line break in the method", []string{":method", "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET"}, ""},
	{"space in the method", []string{":method", "GET /smuggled"}, ""},
	{"line break in the authority", []string{":authority", "x\r\na: b"}, ""},
	{"path without slash", []string{":path", "@evil.test/"}, ""},
	{"empty path", []string{":path", ""}, ""},
	{"two paths", []string{"again", "", ":path", "/smuggled"}, ""},
	{"pseudo header behind fields", []string{"a", "b", ":authority", "y"}, ""},
	{"unknown pseudo header", []string{":smuggled", "a"}, ""},
	{"empty name", []string{"", "a"}, ""},
}

// headerBlock is a POST with the fields of a case.
func headerBlock(fields []string) []byte {
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	pseudo := map[string]string{":method": "POST", ":scheme": "http", ":authority": "x", ":path": "/"}
	if len(fields) == 2 {
		if _, found := pseudo[fields[0]]; found {
			pseudo[fields[0]], fields = fields[1], nil
		}
	}
	for _, name := range []string{":method", ":scheme", ":authority", ":path"} {
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: pseudo[name]}) // to memory
	}
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to memory
	}
	return out.Bytes()
}

// beginStream sends the head of the only stream of a connection.
func beginStream(conn net.Conn, fields []string, end bool) (*http2.Framer, error) {
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return f, errors.Join(
		f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headerBlock(fields), EndHeaders: true, EndStream: end}),
	)
}

// verdict is what comes next for the stream: a status, a reset, or the connection's end.
func verdict(f *http2.Framer) (string, error) {
	for {
		frame, err := f.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "", err
		}
		if err != nil {
			return "end of the connection", nil
		}
		switch fr := frame.(type) {
		case *http2.MetaHeadersFrame:
			return fr.PseudoValue("status"), nil
		case *http2.RSTStreamFrame:
			return "reset", nil
		case *http2.GoAwayFrame:
			return "end of the connection", nil
		}
	}
}

// refusal sends one stream on a connection of its own and returns what it is answered with. A request whose content-length says
// that nothing follows is complete with its head, and may be answered before its body comes: what counts is then how the
// stream ends.
func refusal(conn net.Conn, fields []string, body string) (string, error) {
	f, err := beginStream(conn, fields, body == "")
	if err == nil && body != "" {
		err = f.WriteData(1, true, []byte(body))
	}
	if err != nil {
		return "", err
	}
	got, err := verdict(f)
	if err == nil && got == "200" && slices.Equal(fields, emptyBody) {
		return verdict(f)
	}
	return got, err
}

// What is a malformed request as HTTP/2 does not become one, or two, as HTTP/1.
func TestSmugglingFromHTTP2(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	host.StartWeir(harness.WeirOptions{Config: strictProxy(backend.TCPBackend, "")})
	for _, c := range forgedStreams {
		t.Run(c.name, func(t *testing.T) {
			got, err := refusal(host.MustDial("127.0.0.1:8080"), c.fields, c.body)
			if err != nil || got == "200" || strings.HasPrefix(got, "5") {
				t.Errorf("got %q, %v; want it refused", got, err)
			}
			// A body that does not fit its length may be under way when that shows; its request never ends.
			if sent := backend.take(); sent != "" && (c.body == "" || strings.Contains(sent, "smuggled") || strings.Contains(sent, "transfer-encoding")) {
				t.Errorf("the backend got %q", sent)
			}
		})
	}
	if status, err := refusal(host.MustDial("127.0.0.1:8080"), []string{"a", "b"}, "abc"); err != nil || status != "200" {
		t.Errorf("a good request got %q, %v", status, err)
	}
	want := fmt.Sprintf("POST / HTTP/1.1\r\nhost: x\r\na: b\r\nx-forwarded-proto: http\r\ntransfer-encoding: chunked\r\n\r\n%x\r\nabc\r\n0\r\n\r\n", 3)
	if got := backend.take(); got != want {
		t.Errorf("the backend got %q, want %q", got, want)
	}
}

// A request that says that it has no body is forwarded and answered before its stream ends; what the client sends as its body
// afterwards is not forwarded, and the stream is reset (RFC 9113 section 8.1).
func TestSmugglingFromHTTP2BehindTheAnswer(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	host.StartWeir(harness.WeirOptions{Config: strictProxy(backend.TCPBackend, "")})
	conn := host.MustDial("127.0.0.1:8080")
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	f, err := beginStream(conn, emptyBody, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := verdict(f); err != nil || got != "200" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := f.WriteData(1, true, []byte(smuggled)); err != nil {
		t.Fatal(err)
	}
	if got, err := verdict(f); err != nil || got != "reset" && got != "end of the connection" {
		t.Errorf("the stream ended with %q, %v", got, err)
	}
	// The backend's connection is used again: nothing lies on it.
	if status, err := refusal(host.MustDial("127.0.0.1:8080"), []string{"a", "b"}, ""); err != nil || status != "200" {
		t.Errorf("the next request got %q, %v", status, err)
	}
	want := "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nx-forwarded-proto: http\r\n\r\n" +
		"POST / HTTP/1.1\r\nhost: x\r\na: b\r\nx-forwarded-proto: http\r\ncontent-length: 0\r\n\r\n"
	if got := backend.take(); got != want {
		t.Errorf("the backend got %q, want %q", got, want)
	}
}
