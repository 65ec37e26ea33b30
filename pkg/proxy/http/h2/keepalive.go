package h2

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// keepalive sends PING frames and waits for their answers, when that is configured. The connection's mu guards it.
type keepalive struct {
	timer   *time.Timer
	waiting bool // a PING is not answered yet
	serial  uint64
	stopped bool
}

// keepaliveMark begins the data of our keep-alive PING frames, the serial number ends it.
const keepaliveMark = 0x77656972 << 32

// start begins the rounds of PING frames. The caller holds mu.
func (k *keepalive) start(c *link) {
	if c.limits.idling > 0 {
		c.readAt.Store(time.Now().UnixNano())
	}
	if c.limits.ping > 0 {
		k.timer = time.AfterFunc(k.interval(c), func() { k.tick(c) })
	}
}

func (k *keepalive) interval(c *link) time.Duration {
	d := c.limits.ping
	if c.limits.jitter > 0 {
		d += time.Duration(rand.Float64() * c.limits.jitter / 100 * float64(d))
	}
	return d
}

// stop ends the rounds. The caller holds mu.
func (k *keepalive) stop() {
	k.stopped = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

// tick sends a PING, or gives the connection up whose last one was not answered.
func (k *keepalive) tick(c *link) {
	c.mu.Lock()
	if k.stopped || c.err != nil {
		c.mu.Unlock()
		return
	}
	if !k.waiting {
		k.ping(c)
		c.mu.Unlock()
		return
	}
	c.stats.KeepaliveTimeout.Inc()
	c.mu.Unlock()
	c.sever(ErrKeepalive)
}

// ping sends a PING and waits for its answer. The caller holds mu.
func (k *keepalive) ping(c *link) {
	k.serial++
	k.waiting = true
	var data [pingLen]byte
	binary.BigEndian.PutUint64(data[:], keepaliveMark|k.serial&0xffffffff)
	c.begin()
	c.out = appendPing(c.out, false, data)
	c.outFrames++
	c.flushSoon()
	switch wait := c.limits.pingTimeout; {
	case wait <= 0:
		if k.waiting = false; k.timer != nil {
			k.timer.Reset(k.interval(c))
		}
	case k.timer == nil:
		k.timer = time.AfterFunc(wait, func() { k.tick(c) })
	default:
		k.timer.Reset(wait)
	}
}

// answered takes the answer to a PING and tells whether the PING was of the keep-alive. The caller holds mu.
func (k *keepalive) answered(c *link, data [pingLen]byte) bool {
	v := binary.BigEndian.Uint64(data[:])
	if v&^0xffffffff != keepaliveMark {
		return false
	}
	if k.waiting && v == keepaliveMark|k.serial&0xffffffff && !k.stopped {
		k.waiting = false
		k.timer.Stop()
		if c.limits.ping > 0 {
			k.timer.Reset(k.interval(c))
		}
	}
	return true
}

// heard notes that the peer lives. Only the reader calls it, without mu.
func (k *keepalive) heard(c *link) {
	if c.limits.idling > 0 {
		c.readAt.Store(time.Now().UnixNano())
	}
}

// beforeStream sends a PING ahead of a stream on a connection that was idle for long. The caller holds mu.
func (k *keepalive) beforeStream(c *link) {
	if c.limits.idling > 0 && !k.waiting && time.Now().UnixNano()-c.readAt.Load() > int64(c.limits.idling) {
		k.ping(c)
	}
}
