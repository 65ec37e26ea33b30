package httprouter

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// terminates tells whether the route turns the request into a TCP connection to the upstream (connect_config).
func terminates(a *model.RouteAction, req *message.Request) bool {
	for i := range a.Upgrades {
		u := &a.Upgrades[i]
		if u.Terminate && !u.Disabled && strings.EqualFold(u.Type, "connect") {
			return req.Method == "CONNECT" && req.Protocol == "" || u.TerminatePost && req.Method == "POST"
		}
	}
	return false
}

// dial opens the TCP connection of a tunnel.
func (x *exchange) dial(h *upstream.Host) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if err := x.blockOn(canceller(cancel)); err != nil {
		return err
	}
	l, err := x.cluster.ConnectTCP(ctx, h, &x.opt)
	if cause := x.unblock(); cause != nil {
		if err == nil {
			l.Close()
		}
		return cause
	}
	if err != nil {
		return err
	}
	x.stream = &tunnel{lease: l, post: x.s.Request.Method == "POST"}
	return nil
}

// tunnel is an exchange whose payload goes to and from the upstream as it is. It answers by itself, as soon as it is there.
type tunnel struct {
	lease   *filter.Lease
	post    bool
	sending sync.WaitGroup
	body    message.Body // of the request, while it is sent
	failed  atomic.Pointer[error]
	closed  sync.Once
	tx, rx  atomic.Uint64
}

var _ codec.ClientStream = (*tunnel)(nil)

// RoundTrip implements codec.ClientStream.
func (t *tunnel) RoundTrip(req *message.Request, resp *message.Response, _ func(*message.Response)) error {
	if t.body = req.Body; t.body != nil {
		t.sending.Go(t.send)
	}
	resp.Status, resp.Version, resp.ContentLength, resp.Upgraded = 200, req.Version, -1, !t.post
	resp.Body = (*tunnelBody)(t)
	return nil
}

// send passes the downstream's bytes on, and then its end.
func (t *tunnel) send() {
	defer func() {
		if bad := upstream.Recovered(recover()); bad != nil {
			t.Abort(bad)
		}
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := t.body.Read(buf)
		if n > 0 {
			if _, werr := t.lease.Conn.Write(buf[:n]); werr != nil {
				return // the reading side learns of it
			}
			t.tx.Add(uint64(n))
		}
		if err == io.EOF {
			if c, ok := t.lease.Conn.(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			}
			return
		}
		if err != nil {
			t.Abort(err)
			return
		}
	}
}

// Abort implements codec.ClientStream.
func (t *tunnel) Abort(err error) {
	t.failed.CompareAndSwap(nil, &err)
	t.lease.Close()
}

// Close implements codec.ClientStream.
func (t *tunnel) Close() {
	t.closed.Do(func() {
		t.lease.Close()
		if t.body != nil {
			_ = t.body.Close()
		}
		t.sending.Wait()
	})
}

// Conn implements codec.ClientStream.
func (t *tunnel) Conn() codec.ConnInfo { return t.lease.Info }

// Counts implements codec.ClientStream.
func (t *tunnel) Counts() codec.Counts {
	return codec.Counts{RequestBody: t.tx.Load(), ResponseBody: t.rx.Load()}
}

// tunnelBody is what the upstream sends.
type tunnelBody tunnel

// Read implements message.Body.
func (b *tunnelBody) Read(p []byte) (int, error) {
	n, err := b.lease.Conn.Read(p)
	b.rx.Add(uint64(n))
	switch cause := b.failed.Load(); {
	case err == nil || err == io.EOF:
	case cause != nil:
		err = *cause
	case errors.Is(err, net.ErrClosed):
	default:
		err = &upstream.Error{Kind: upstream.KindTermination, Err: err}
	}
	return n, err
}

// Trailers implements message.Body.
func (*tunnelBody) Trailers() *message.Headers { return nil }

// Close implements message.Body.
func (*tunnelBody) Close() error { return nil }
