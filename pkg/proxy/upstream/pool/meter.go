package pool

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// meter counts one connection, from before its dial until it is closed. The connection's breaker was taken before.
type meter struct {
	host     *Host
	priority int
	start    time.Time
	rx, tx   uint64 // counted so far
}

func newMeter(h *Host, priority int) *meter {
	m := &meter{host: h, priority: priority, start: time.Now()}
	s := h.shared.Stats
	s.CxTotal.Inc()
	s.CxActive.Inc()
	h.stats.CxTotal.Add(1)
	h.stats.CxActive.Add(1)
	return m
}

func (m *meter) connected() {
	m.host.shared.Stats.CxConnectMS.Record(uint64(time.Since(m.start) / time.Millisecond))
}

func (m *meter) connectFailed(err error) {
	s := m.host.shared.Stats
	s.CxConnectFail.Inc()
	m.host.stats.CxConnectFail.Add(1)
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Kind == upstream.KindConnectTimeout {
		s.CxConnectTimeout.Inc()
	}
}

// bytes counts what moved since the last call. Calls must not overlap.
func (m *meter) bytes(s Socket) {
	rx, tx := s.RxBytes(), s.TxBytes()
	m.host.shared.Stats.CxRxBytes.Add(rx - m.rx)
	m.host.shared.Stats.CxTxBytes.Add(tx - m.tx)
	m.rx, m.tx = rx, tx
}

// end counts the connection out. remote tells that the peer ended it, active that an exchange was under way.
func (m *meter) end(remote, active bool) {
	s := m.host.shared.Stats
	s.CxActive.Dec()
	m.host.stats.CxActive.Add(-1)
	s.CxLengthMS.Record(uint64(time.Since(m.start) / time.Millisecond))
	s.CxDestroy.Inc()
	if active {
		s.CxDestroyWithActive.Inc()
	}
	switch {
	case remote && active:
		s.CxDestroyRemote.Inc()
		s.CxDestroyRemoteWithActive.Inc()
	case remote:
		s.CxDestroyRemote.Inc()
	case active:
		s.CxDestroyLocal.Inc()
		s.CxDestroyLocalWithActive.Inc()
	default:
		s.CxDestroyLocal.Inc()
	}
	m.host.shared.Connections[m.priority].Release()
}

// dial makes a connection within the connect timeout and counts how that went.
func dial(ctx context.Context, h *Host, from streaminfo.Origin, sni string, alpn []string, m *meter) (Raw, error) {
	dialCtx, cancel := context.WithTimeout(ctx, h.shared.limits.Load().ConnectTimeout)
	defer cancel()
	raw, err := h.transport(dialCtx, from, sni, alpn)
	if err == nil {
		m.connected()
		return raw, nil
	}
	err = connectError(ctx, dialCtx, err)
	m.connectFailed(err)
	return Raw{}, err
}

// connectError tells a timeout and a caller who gave up from a failure of the connection.
func connectError(ctx, dialCtx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return &upstream.Error{Kind: upstream.KindAborted, BeforeResponse: true, Err: context.Cause(ctx)}
	// The poller's clock may strike a moment before the context's.
	case dialCtx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return &upstream.Error{Kind: upstream.KindConnectTimeout, BeforeResponse: true, Err: err}
	}
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		return e
	}
	return &upstream.Error{Kind: upstream.KindConnect, BeforeResponse: true, Err: err}
}
