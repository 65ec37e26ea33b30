package udpproxy

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// session is a client's exchange with a host.
type session struct {
	p       *Proxy
	key     key
	reply   atomic.Pointer[udp.Path]
	cluster Cluster
	stats   *clusterCounters
	host    *upstream.Host
	conn    *net.UDPConn
	raw     syscall.RawConn
	idle    timer.Timer
	flush   timer.Timer
	unwatch func()
	done    chan struct{} // closed when nothing of the session is left
	info    streaminfo.Info
	totals  totals
	ended   atomic.Uint32 // an endReason
	asked   atomic.Bool   // the client has sent since it was answered last

	// sending guards payload and failed, which transmit works with, and over, which tells that the session's timers are released.
	sending  sync.Mutex
	over     bool
	payload  []byte
	failed   error
	transmit func(fd uintptr) bool
	// flushing guards info.
	flushing sync.Mutex
}

// endReason is why a session ended; 0 while it lasts.
type endReason = uint32

const (
	endIdle endReason = iota + 1
	endHostGone
	endReplaced
	endClosed
)

// begin makes a session with its socket and enters it. The caller holds creating.
func (p *Proxy) begin(k key, d *udp.Datagram, cl Cluster, h *upstream.Host) (*session, error) {
	o := cluster.UDPOptions{Within: d.Within, GRO: p.cfg.Upstream.GRO}
	if p.cfg.UseOriginalSource {
		o.Source = d.Client().Addr()
	}
	conn, err := cl.DialUDP(p.ctx, h, o)
	if err != nil {
		return nil, err
	}
	s := &session{p: p, key: k, done: make(chan struct{}), cluster: cl, stats: p.clusterStats(cl), host: h, conn: conn}
	if s.raw, err = conn.SyscallConn(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	s.transmit = s.write
	s.answerBy(&d.Reply)
	s.info = streaminfo.Info{Conn: d.Connection(), Start: time.Now(), StreamID: p.nextID.Add(1)}
	s.info.Conn.Listener = p.deps.Listener
	if d.Captured && p.deps.SessionLog != nil && p.deps.Caller != nil {
		s.info.Conn.Cgroup = p.deps.Caller(d.Within, d.Peer, d.Reply.Local())
	}
	s.info.Upstream = streaminfo.Upstream{
		Host: h.Address, Hostname: h.Hostname, Cluster: cl.Config().StatName(), ClusterRaw: cl.Config().Name,
		Local: conn.LocalAddr().(*net.UDPAddr).AddrPort(), AttemptCount: 1,
	}
	s.idle.Init(p.deps.Wheel, func() { s.end(endIdle) })
	s.flush.Init(p.deps.Wheel, s.log)
	p.stats.total.Inc()
	p.totals.sessions.Add(1)
	p.stats.active.Inc()
	h.Stats.CxTotal.Add(1)
	h.Stats.CxActive.Add(1)
	p.mu.Lock()
	p.sessions[k] = s
	p.mu.Unlock()
	s.unwatch = cl.WatchHost(h, func() { s.end(endHostGone) })
	if p.cfg.AccessLogInterval > 0 && p.deps.SessionLog != nil {
		s.flush.Arm(p.cfg.AccessLogInterval)
	}
	s.busy()
	p.running.Go(s.run)
	return s, nil
}

// busy puts the idle timeout off.
func (s *session) busy() {
	if d := s.p.cfg.IdleTimeout; d > 0 {
		s.idle.Arm(d)
	}
}

// answerBy has answers go by a path from now on: the listener's socket may be another one after an update.
func (s *session) answerBy(p *udp.Path) {
	if now := s.reply.Load(); now == nil || !now.Same(p) {
		path := *p
		s.reply.Store(&path)
	}
}

// better tells whether the session had better begin again, since its host is unhealthy and there is another one. As in Envoy a
// session stays when there is none.
func (s *session) better() bool {
	now := s.host.Stats.Current.Load()
	if now == nil || now.Healthy() || now.Degraded() {
		return false
	}
	d := udp.Datagram{Peer: s.key.peer, Source: s.info.Conn.Remote, Local: s.key.local, Within: s.key.within}
	cl := s.p.cluster(&d)
	if cl == nil {
		return false
	}
	pc := s.p.pickContext(&d, cl)
	h, err := cl.Pick(&pc)
	return err == nil && h.Stats != s.host.Stats && (h.Healthy() || h.Degraded())
}

// send sends a datagram to the host. It does not wait: what the system cannot take is lost, as datagrams are.
func (s *session) send(d *udp.Datagram) {
	p, payload := s.p, d.Payload
	s.answerBy(&d.Reply)
	n := uint64(len(payload))
	p.stats.rxBytes.Add(n)
	p.stats.rxDatagrams.Inc()
	p.totals.received.Add(n)
	p.totals.datagramsReceived.Add(1)
	s.totals.received.Add(n)
	s.totals.datagramsReceived.Add(1)
	s.sending.Lock()
	if s.over {
		s.sending.Unlock()
		return
	}
	s.busy()
	s.asked.Store(true)
	s.payload = payload
	err := s.raw.Write(s.transmit)
	if err == nil {
		err = s.failed
	}
	s.payload = nil
	s.sending.Unlock()
	if err != nil {
		s.stats.txErrors.Inc()
		return
	}
	s.stats.txDatagrams.Inc()
	s.cluster.Stats().CxTxBytes.Add(n)
}

// write is transmit.
func (s *session) write(fd uintptr) bool {
	_, s.failed = unix.Write(int(fd), s.payload)
	if errors.Is(s.failed, unix.ECONNREFUSED) { // of an earlier datagram: the answer to it stands in the way of this one
		s.stats.rxErrors.Inc()
		s.reply.Load().Refuse(s.key.peer)
		_, s.failed = unix.Write(int(fd), s.payload)
	}
	return true
}

// run brings the client what the host sends, until the session ends.
func (s *session) run() {
	defer close(s.done)
	_ = s.raw.Read(s.drain) // ends by the deadline that end sets
	_ = s.conn.Close()
	s.sending.Lock()
	s.over = true
	s.sending.Unlock()
	s.idle.Release()
	s.flush.Release()
	s.host.Stats.CxActive.Add(-1)
	s.cluster.ReleaseConnection()
	s.p.stats.active.Dec()
	s.record(true)
}

// drain receives until the socket has no more.
func (s *session) drain(fd uintptr) bool {
	batch := s.p.batch.Get().(*udp.Batch)
	defer s.p.batch.Put(batch)
	for s.ended.Load() == 0 {
		n, err := batch.Receive(fd)
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN):
			return false
		case errors.Is(err, unix.EBADF):
			return true
		default:
			s.stats.rxErrors.Inc()
			if errors.Is(err, unix.ECONNREFUSED) {
				s.asked.Store(false)
				s.reply.Load().Refuse(s.key.peer)
			}
			continue
		}
		for i := range n {
			m := batch.Message(i)
			s.receive(&m)
		}
		if n < batch.Room() {
			return false
		}
	}
	return true
}

// receive sends what a host sent to the client.
func (s *session) receive(m *udp.Message) {
	segment := m.Segment
	if segment <= 0 {
		segment = max(1, len(m.Payload))
	}
	for rest := m.Payload; ; {
		payload := rest[:min(segment, len(rest))]
		s.busy()
		s.stats.rxDatagrams.Inc()
		s.cluster.Stats().CxRxBytes.Add(uint64(len(payload)))
		if m.Truncated || len(payload) > s.p.cfg.Upstream.MaxDatagram {
			s.stats.rxDropped.Inc()
		} else {
			s.answer(payload)
		}
		if rest = rest[len(payload):]; len(rest) == 0 {
			return
		}
	}
}

func (s *session) answer(payload []byte) {
	st, n := &s.p.stats, uint64(len(payload))
	s.asked.Store(false)
	if err := s.reply.Load().Send(payload, s.key.peer); err != nil {
		st.txErrs.Inc()
		s.totals.sendErrors.Add(1)
		s.p.totals.sendErrors.Add(1)
		return
	}
	st.txBytes.Add(n)
	st.txDatagrams.Inc()
	for _, t := range [...]*totals{&s.totals, &s.p.totals} {
		t.sent.Add(n)
		t.datagramsSent.Add(1)
	}
}

// end takes the session out of the table and has its goroutine end it. Only the first reason counts.
func (s *session) end(why endReason) {
	if !s.ended.CompareAndSwap(0, why) {
		return
	}
	p := s.p
	p.mu.Lock()
	if p.sessions[s.key] == s {
		delete(p.sessions, s.key)
	}
	p.mu.Unlock()
	if why == endIdle {
		p.stats.idle.Inc()
		p.totals.idle.Add(1)
	}
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
}

// log writes the session's access log while it lasts.
func (s *session) log() {
	if s.ended.Load() != 0 {
		return
	}
	s.record(false)
	s.flush.Arm(s.p.cfg.AccessLogInterval)
}

// record writes the session's access log.
func (s *session) record(final bool) {
	if final {
		s.unwatch()
	}
	if s.p.deps.SessionLog == nil {
		return
	}
	s.flushing.Lock()
	defer s.flushing.Unlock()
	fields := s.totals.metadata()
	fields["cluster_name"] = s.info.Upstream.Cluster
	s.info.Dynamic = map[string]map[string]any{"udp.proxy.session": fields}
	s.info.Duration = time.Since(s.info.Start)
	s.info.BytesReceived, s.info.BytesSent = s.totals.received.Load(), s.totals.sent.Load()
	s.info.Upstream.WireSent, s.info.Upstream.WireReceived = s.info.BytesReceived, s.info.BytesSent
	s.p.deps.SessionLog(&s.info, final)
}
