package h2

import (
	"fmt"
	"io"
	"net/http"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// clientStream is one exchange of a ClientConn. It is pooled: nothing may call it after Close.
type clientStream struct {
	stream
	cc      *ClientConn
	req     *message.Request
	body    clientBody
	snd     sender
	method  string
	tunnel  bool
	used    bool // an earlier exchange used the connection
	started bool
	closed  bool
	sending chan struct{} // closed when the goroutine that sends the body has ended; nil without one

	// Guarded by mu.
	incoming  message.Response
	infos     []*message.Response
	wantsInfo bool
	gotSome   bool // some byte of a response is there
	gotHead   bool // the final response head is there
	bodyErr   error
}

func newClientStream() *clientStream {
	st := new(clientStream)
	st.cli = st
	st.body.st = st
	return st
}

func (st *clientStream) reset(cc *ClientConn) {
	st.stream.reset(&cc.link)
	st.cc, st.req, st.sending, st.infos, st.bodyErr = cc, nil, nil, nil, nil
	st.tunnel, st.started, st.closed, st.wantsInfo, st.gotSome, st.gotHead = false, false, false, false, false, false
	st.incoming.Reset()
}

// RoundTrip implements codec.ClientStream.
func (st *clientStream) RoundTrip(req *message.Request, resp *message.Response, onInformational func(*message.Response)) error {
	if st.started || st.closed {
		return errBusy
	}
	st.started, st.req = true, req
	st.method, st.tunnel = req.Method, req.Method == http.MethodConnect || req.Protocol != ""
	if err := st.prepare(onInformational != nil); err != nil {
		return st.failure(err)
	}
	body, length := req.Body, req.ContentLength
	if body == nil && length > 0 {
		return st.failure(&bodyError{errBodyShort})
	}
	if st.tunnel {
		length = -1
	}
	st.snd.init(&st.stream, st, body, length)
	var done bool
	var err error
	if st.tunnel {
		_, err = st.snd.pause(true)
	} else {
		done, err = st.snd.run(true)
	}
	switch {
	case err != nil && st.gaveUp(err):
		return st.failure(err)
	case err == nil && !done && !st.tunnel:
		st.sendOn()
	}
	if err := st.await(resp, onInformational); err != nil {
		return err
	}
	if resp.Upgraded && body != nil { // the payload of a tunnel waits until the peer has agreed to it
		st.sendOn()
	}
	return nil
}

// prepare waits until the server has said whether it takes an extended CONNECT.
func (st *clientStream) prepare(wantsInfo bool) error {
	cc := st.cc
	cc.mu.Lock()
	defer cc.mu.Unlock()
	st.wantsInfo = wantsInfo
	if st.req.Protocol == "" {
		return nil
	}
	for !cc.settledOnce && st.sendError() == nil {
		cc.ready.Wait()
	}
	if err := st.sendError(); err != nil {
		return err
	}
	if !cc.peerConnect {
		return streamErrorf(codeProtocol, "the server does not take extended CONNECT")
	}
	return nil
}

// gaveUp tells whether an error of sending ends the exchange: not when there is a response already, which the server may
// have given without waiting for the whole request.
func (st *clientStream) gaveUp(err error) bool {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !st.open && st.gotHead {
		return false
	}
	if st.open { // the body came to a bad end
		st.cut(codeCancel)
		c.flushSoon()
	}
	if st.err == nil {
		st.err = err
	}
	return true
}

// sendOn sends the rest of the body on a goroutine that Close waits for.
func (st *clientStream) sendOn() {
	done := make(chan struct{})
	st.sending = done
	go func() {
		defer close(done)
		if err := st.sendRest(); err != nil {
			st.bodyFailed(err)
		}
	}()
}

// sendRest makes an error of a panic of the body.
func (st *clientStream) sendRest() (err error) {
	defer func() {
		if bad := upstream.Recovered(recover()); bad != nil {
			err = bad
		}
	}()
	_, err = st.snd.run(false)
	return err
}

// bodyFailed ends an exchange whose request body came to a bad end. When the stream has ended by itself, the error is of no
// interest.
func (st *clientStream) bodyFailed(err error) {
	c := st.c
	c.mu.Lock()
	over := !st.open
	if !over {
		st.cut(codeCancel)
		c.flushSoon()
	}
	c.mu.Unlock()
	if !over {
		st.Abort(&upstream.Error{Kind: upstream.KindAborted, Err: fmt.Errorf("send request body: %w", err)})
	}
}

// await waits for the final response.
func (st *clientStream) await(resp *message.Response, onInformational func(*message.Response)) error {
	c := st.c
	c.mu.Lock()
	for {
		if len(st.infos) > 0 && onInformational != nil {
			r := st.infos[0]
			st.infos = st.infos[1:]
			c.mu.Unlock()
			onInformational(r)
			c.mu.Lock()
			continue
		}
		p := st.awoken.Load()
		switch {
		case p != nil:
			c.mu.Unlock()
			return *p
		case st.gotHead:
			st.deliver(resp)
			c.mu.Unlock()
			return nil
		case st.err != nil:
			c.mu.Unlock()
			return st.failure(st.err)
		}
		st.rcond.Wait()
	}
}

// deliver moves the response head to resp. The caller holds mu.
func (st *clientStream) deliver(resp *message.Response) {
	resp.Reset()
	spare := resp.Headers
	*resp = st.incoming
	st.incoming = message.Response{Headers: spare}
}

// Abort implements codec.ClientStream.
func (st *clientStream) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	st.abort(err, nil)
	st.c.mu.Lock()
	st.cc.ready.Broadcast()
	st.c.mu.Unlock()
}

// Close implements codec.ClientStream.
func (st *clientStream) Close() {
	if st.closed {
		return
	}
	st.closed = true
	cc := st.cc
	st.stopSending()
	cc.mu.Lock()
	if st.open {
		st.cut(codeCancel)
		cc.flushSoon()
	}
	st.release()
	cc.active--
	cc.endIfIdle()
	cc.mu.Unlock()
	st.req, st.snd, st.err, st.infos = nil, sender{}, nil, nil
	release := cc.opt.Release
	cc.shared.clients.Put(st)
	if release != nil {
		release()
	}
}

// stopSending waits for the goroutine that sends the body. One that is blocked in a Read of the body is woken up by closing
// it.
func (st *clientStream) stopSending() {
	if st.sending == nil {
		return
	}
	select {
	case <-st.sending:
		return
	default:
	}
	c := st.c
	c.mu.Lock()
	if !st.sendEnd {
		st.give(errClosed)
	}
	c.interrupt(&st.stream)
	reading := st.snd.reading
	c.mu.Unlock()
	if reading {
		_ = st.req.Body.Close() // the body is of no use any more
	}
	<-st.sending
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

// clientBody is the body of a response.
type clientBody struct{ st *clientStream }

// Read implements message.Body.
func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.st.read(p)
	if err != nil && err != io.EOF {
		err = b.st.failure(err)
	}
	return n, err
}

// Trailers implements message.Body.
func (b *clientBody) Trailers() *message.Headers { return b.st.endTrailers() }

// Close implements message.Body.
func (b *clientBody) Close() error {
	b.st.drop()
	return nil
}

// Buffered implements message.Buffered.
func (b *clientBody) Buffered() (n int, whole bool) { return b.st.buffered() }

var (
	_ codec.ClientStream = (*clientStream)(nil)
	_ message.Body       = (*clientBody)(nil)
	_ message.Buffered   = (*clientBody)(nil)
)
