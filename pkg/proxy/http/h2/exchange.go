package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// clientStream is one exchange of a ClientConn.
type clientStream struct {
	cc     *ClientConn
	ctx    context.Context // ends the exchange within x/net; a stream's life is no call's
	cancel context.CancelFunc
	used   bool
	closed bool
	send   *requestBody
	body   *responseBody

	aborted  atomic.Pointer[error]
	gotFirst atomic.Bool

	sentHead, sentBody, recvHead, recvBody, recvTrailer atomic.Uint64
}

// RoundTrip implements codec.ClientStream. onInformational is called on the goroutine that reads the connection, while
// RoundTrip waits.
func (st *clientStream) RoundTrip(req *message.Request, resp *message.Response, onInformational func(*message.Response)) error {
	hr := st.request(req, onInformational)
	res, err := st.cc.cc.RoundTrip(hr)
	if err != nil {
		return st.failure(err, true)
	}
	resp.Reset()
	resp.Status, resp.Version, resp.ContentLength = res.StatusCode, message.HTTP2, res.ContentLength
	fromHTTP(&resp.Headers, res.Header)
	st.recvHead.Store(uint64(resp.Headers.ByteSize() + 3))
	st.body = &responseBody{st: st, res: res}
	resp.Upgraded = req.Method == http.MethodConnect && res.StatusCode/100 == 2 || req.Protocol != "" && res.StatusCode/100 == 2
	switch {
	case resp.Upgraded:
		resp.ContentLength = -1
		resp.Body = st.body
	case res.ContentLength == 0 || req.Method == http.MethodHead || res.StatusCode == 304 || res.StatusCode == 204:
	default:
		resp.Body = st.body
	}
	return nil
}

// request makes the net/http form of a request, which x/net encodes unchanged: the target goes as an opaque URL.
func (st *clientStream) request(req *message.Request, onInformational func(*message.Response)) *http.Request {
	scheme := req.Scheme
	if scheme != "https" {
		scheme = "http"
	}
	target := req.Path
	switch {
	case target == "":
		target = "/"
	case strings.HasPrefix(target, "//"): // an opaque URL that begins so would be taken for an authority
		target = "//" + req.Authority + target
	}
	authority := strings.Clone(req.Authority)
	hr := &http.Request{
		Method: strings.Clone(req.Method), Host: authority, Proto: "HTTP/2.0", ProtoMajor: 2, ContentLength: req.ContentLength,
		URL: &url.URL{Scheme: scheme, Host: authority, Opaque: strings.Clone(target)}, Header: make(http.Header, req.Headers.Len()+1),
	}
	toHTTP(hr.Header, &req.Headers, "")
	if _, there := hr.Header["User-Agent"]; !there {
		hr.Header["User-Agent"] = nil
	}
	if req.Protocol != "" {
		hr.Method = http.MethodConnect
		hr.Header[":protocol"] = []string{strings.Clone(req.Protocol)}
	}
	if names, ok := hr.Header["Trailer"]; ok {
		delete(hr.Header, "Trailer")
		hr.Trailer = announced(names)
	}
	if req.Body != nil {
		st.send = &requestBody{st: st, src: req.Body, trailer: hr.Trailer}
		hr.Body = st.send
		if req.ContentLength == 0 {
			hr.Body = http.NoBody
			st.send = nil
		}
	}
	st.sentHead.Store(uint64(req.Headers.ByteSize() + len(hr.Method) + len(req.Authority) + len(req.Path) + len(scheme)))
	return hr.WithContext(httptrace.WithClientTrace(st.ctx, st.trace(onInformational)))
}

// announced makes the trailer map of the names in Trailer fields.
func announced(lists []string) http.Header {
	t := make(http.Header)
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			switch key := http.CanonicalHeaderKey(strings.TrimSpace(name)); key {
			case "", "Transfer-Encoding", "Trailer", "Content-Length":
			default:
				t[key] = nil
			}
		}
	}
	if len(t) == 0 {
		return nil
	}
	return t
}

func (st *clientStream) trace(onInformational func(*message.Response)) *httptrace.ClientTrace {
	t := &httptrace.ClientTrace{GotFirstResponseByte: func() { st.gotFirst.Store(true) }}
	if onInformational != nil {
		t.Got1xxResponse = func(code int, header textproto.MIMEHeader) error {
			r := &message.Response{Status: code, Version: message.HTTP2}
			fromHTTP(&r.Headers, http.Header(header))
			onInformational(r)
			return nil
		}
	}
	return t
}

// failure maps an error of x/net. Two of its errors have no type and are known by their text only.
func (st *clientStream) failure(err error, beforeHead bool) error {
	if p := st.aborted.Load(); p != nil {
		return *p
	}
	kind := upstream.KindTermination
	var se http2.StreamError
	var ce http2.ConnectionError
	var ga http2.GoAwayError
	switch {
	case errors.As(err, &se) && se.Code == http2.ErrCodeRefusedStream:
		kind = upstream.KindRefusedStream
	case errors.As(err, &se) && se.Cause != nil && se.Cause.Error() == "received from peer":
		kind = upstream.KindRemoteReset
	case errors.As(err, &se), errors.As(err, &ce):
		kind = upstream.KindProtocol
	case errors.As(err, &ga):
	case strings.Contains(err.Error(), "graceful shutdown GOAWAY"), strings.Contains(err.Error(), "client conn not usable"):
		kind = upstream.KindRefusedStream
	case strings.Contains(err.Error(), "extended connect not supported"):
		kind = upstream.KindProtocol
	}
	before := beforeHead && !st.gotFirst.Load()
	return &upstream.Error{
		Kind: kind, BeforeResponse: before, Reused: st.used && before && kind == upstream.KindTermination,
		Err: fmt.Errorf("HTTP/2 exchange: %w", err),
	}
}

// Abort implements codec.ClientStream.
func (st *clientStream) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	if st.aborted.CompareAndSwap(nil, &err) {
		st.cancel()
	}
}

// Close implements codec.ClientStream.
func (st *clientStream) Close() {
	if st.closed {
		return
	}
	st.closed = true
	st.cancel()
	if st.body != nil {
		_ = st.body.res.Body.Close() // resets the stream when it is not complete
	}
	if st.send != nil {
		st.send.stop()
	}
	st.cc.leave()
}

// Conn implements codec.ClientStream.
func (st *clientStream) Conn() codec.ConnInfo {
	info := st.cc.opt.Info
	info.Reused = st.used
	return info
}

// Counts implements codec.ClientStream; heads count as the sum of their names and values.
func (st *clientStream) Counts() codec.Counts {
	return codec.Counts{
		RequestHeader: st.sentHead.Load(), RequestBody: st.sentBody.Load(),
		ResponseHeader: st.recvHead.Load(), ResponseBody: st.recvBody.Load(), ResponseTrailer: st.recvTrailer.Load(),
	}
}

// requestBody is what x/net reads a request body from, on a goroutine of its own.
type requestBody struct {
	st      *clientStream
	src     message.Body
	trailer http.Header

	mu     sync.Mutex // held while src is read
	closed atomic.Bool
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, errClosed
	}
	n, err := b.src.Read(p)
	b.st.sentBody.Add(uint64(n))
	if err == io.EOF {
		if t := b.src.Trailers(); t != nil {
			for f := range t.All() {
				if key := http.CanonicalHeaderKey(f.Name); b.announces(key) {
					b.trailer[key] = append(b.trailer[key], f.Value)
				}
			}
		}
	} else if err != nil {
		b.st.Abort(&upstream.Error{Kind: upstream.KindAborted, Err: fmt.Errorf("send request body: %w", err)})
	}
	return n, err
}

func (b *requestBody) announces(key string) bool {
	_, ok := b.trailer[key]
	return ok
}

// Close implements io.Closer; x/net calls it when it needs no more of the body.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}

// stop makes sure that src is not in use any more. A Read that is blocked in it is woken up by closing it.
func (b *requestBody) stop() {
	b.closed.Store(true)
	if b.mu.TryLock() {
		b.mu.Unlock()
		return
	}
	_ = b.src.Close() // the body is of no use any more
	b.mu.Lock()       // the Read has returned
	defer b.mu.Unlock()
}

// responseBody is the body of a response.
type responseBody struct {
	st       *clientStream
	res      *http.Response
	err      error
	trailers message.Headers
}

// Read implements message.Body.
func (b *responseBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.res.Body.Read(p)
	b.st.recvBody.Add(uint64(n))
	switch {
	case err == io.EOF:
		fromHTTP(&b.trailers, b.res.Trailer)
		b.st.recvTrailer.Store(uint64(b.trailers.ByteSize()))
		b.err = err
	case err != nil:
		b.err = b.st.failure(err, false)
	}
	return n, b.err
}

// Trailers implements message.Body.
func (b *responseBody) Trailers() *message.Headers {
	if b.err != io.EOF || b.trailers.Len() == 0 {
		return nil
	}
	return &b.trailers
}

// Close implements message.Body.
func (b *responseBody) Close() error { return b.res.Body.Close() }

var (
	_ codec.ClientStream = (*clientStream)(nil)
	_ message.Body       = (*responseBody)(nil)
	_ io.ReadCloser      = (*requestBody)(nil)
)
