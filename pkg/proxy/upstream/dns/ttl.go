package dns

import (
	"encoding/binary"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// witness reads the TTL off the answers to the questions of one lookup, of which some may be under way at the same time.
type witness struct {
	shortest atomic.Int64 // in seconds and one more, so that 0 is nothing
}

// ttl is the shortest that was seen; 0 when none was.
func (w *witness) ttl() time.Duration {
	return time.Duration(max(0, w.shortest.Load()-1)) * time.Second
}

func (w *witness) saw(ttl uint32) {
	for next := int64(ttl) + 1; ; {
		now := w.shortest.Load()
		if now != 0 && now <= next || w.shortest.CompareAndSwap(now, next) {
			return
		}
	}
}

// watch looks at what goes over a connection to a server. A resolver asks one question on each and sends datagrams on what is a
// net.PacketConn, otherwise messages after their length (net.Resolver.Dial).
func (w *witness) watch(c net.Conn) net.Conn {
	if u, ok := c.(*net.UDPConn); ok {
		return &datagrams{UDPConn: u, exchange: exchange{witness: w}}
	}
	return &stream{Conn: c, exchange: exchange{witness: w}}
}

// exchange is a question and what is said in return.
type exchange struct {
	witness  *witness
	id       uint16
	question dnsmessage.Question
	asked    bool
}

// ask notes the question of a message.
func (e *exchange) ask(message []byte) {
	e.id, e.question, e.asked = questionOf(message, false)
}

// answer looks at a message that came. What does not answer the question is not looked at: the resolver waits for what does.
func (e *exchange) answer(message []byte) {
	id, q, ok := questionOf(message, true)
	if !ok || !e.asked || id != e.id || q.Type != e.question.Type || q.Class != e.question.Class ||
		!strings.EqualFold(q.Name.String(), e.question.Name.String()) {
		return
	}
	if ttl, ok := answerTTL(message); ok {
		e.witness.saw(ttl)
	}
}

// questionOf is the first question of a message, and its ID. It is not ok when there is none, or when the message is no response
// although one is wanted.
func questionOf(message []byte, response bool) (id uint16, q dnsmessage.Question, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || h.Response != response {
		return 0, q, false
	}
	q, err = p.Question()
	return h.ID, q, err == nil
}

// answerTTL is the shortest TTL in seconds of the addresses of a response and of the aliases that lead to them. It is not ok when the
// response has no addresses. One of more than 31 bits counts as 0 (RFC 2181 section 8).
func answerTTL(message []byte) (ttl uint32, ok bool) {
	var p dnsmessage.Parser
	if h, err := p.Start(message); err != nil || h.RCode != dnsmessage.RCodeSuccess || p.SkipAllQuestions() != nil {
		return 0, false
	}
	ttl = 1<<32 - 1
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return ttl, ok && err == dnsmessage.ErrSectionDone
		}
		switch h.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA:
			ok = true
			fallthrough
		case dnsmessage.TypeCNAME:
			if h.TTL >= 1<<31 {
				h.TTL = 0
			}
			ttl = min(ttl, h.TTL)
		}
		if p.SkipAnswer() != nil {
			return 0, false
		}
	}
}

// datagrams is a connection whose messages come in one piece.
type datagrams struct {
	*net.UDPConn
	exchange
}

// Write implements net.Conn.
func (d *datagrams) Write(b []byte) (int, error) {
	d.ask(b)
	return d.UDPConn.Write(b)
}

// Read implements net.Conn. An answer that did not fit is asked for again over TCP.
func (d *datagrams) Read(b []byte) (int, error) {
	n, err := d.UDPConn.Read(b)
	const truncated = 1 << 1 // RFC 1035 section 4.1.1
	if err == nil && n > 2 && b[2]&truncated == 0 {
		d.answer(b[:n])
	}
	return n, err
}

// stream is a connection whose messages come after their length, in pieces of any size.
type stream struct {
	net.Conn
	exchange
	came []byte
}

// Write implements net.Conn.
func (s *stream) Write(b []byte) (int, error) {
	if len(b) > 2 {
		s.ask(b[2:])
	}
	return s.Conn.Write(b)
}

// Read implements net.Conn. The resolver reads one answer.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.came = append(s.came, b[:n]...)
	if len(s.came) >= 2 {
		if size := int(binary.BigEndian.Uint16(s.came)); len(s.came) >= 2+size {
			s.answer(s.came[2 : 2+size])
			s.came = s.came[:0]
		}
	}
	return n, err
}
