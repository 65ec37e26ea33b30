package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// protocol is the version of the messages.
const protocol = 1

// Limits of the protocol.
const (
	maxMessage = 64 << 10
	// answerTimeout bounds the wait for an answer of the other process, which may be stopped.
	answerTimeout = 10 * time.Second
)

// What messages ask for and answer.
const (
	verbBegin   = "begin"
	verbSockets = "sockets"
	verbDone    = "done"
	verbSocket  = "socket" // carries a descriptor
	verbOK      = "ok"     // nothing follows
	verbError   = "error"
	// On a channel of its own, whose end the newer process passes:
	verbStatistics = "statistics" // carries a descriptor, on the channel of the handover
	verbGive       = "give"       // asks for a round
	verbSeries     = "series"
	verbGiven      = "given" // ends a round
)

// seriesFormat is the version of the form in which statistics are sent.
const seriesFormat = 1

// Version names what two processes must agree upon for the one to take over from the other.
func Version() string { return fmt.Sprintf("weir.%d.%d", protocol, seriesFormat) }

// message is one packet.
type message struct {
	Protocol int    `json:"protocol"`
	Verb     string `json:"verb"`
	// Key of a socket.
	Key string `json:"key,omitempty"`
	// Shutdown is how long the older process may go on after done.
	Shutdown time.Duration `json:"shutdown,omitempty"`
	// Error is why the request was refused.
	Error string `json:"error,omitempty"`
	// Origin answers begin. A process that gives no statistics leaves it out.
	Origin *origin `json:"origin,omitempty"`
	// Data are series.
	Data []byte `json:"data,omitempty"`
	// Connections and Memory end a round of statistics.
	Connections uint64 `json:"connections,omitempty"`
	Memory      uint64 `json:"memory,omitempty"`
}

// origin is Origin as it is sent.
type origin struct {
	Format     int       `json:"format"`
	Start      time.Time `json:"start"`
	Generation uint64    `json:"generation"`
}

func decode(data []byte) (message, error) {
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		return message{}, fmt.Errorf("decode message: %w", err)
	}
	if m.Protocol != protocol {
		return message{}, fmt.Errorf("decode message: the other weir speaks version %d of the protocol, this one %d", m.Protocol, protocol)
	}
	if m.Verb == "" || m.Shutdown < 0 || (m.Verb == verbSocket) != (m.Key != "") {
		return message{}, fmt.Errorf("decode message: %.100q is none", data)
	}
	return m, nil
}

// send writes a message, with a descriptor unless fd is negative.
func send(conn *net.UnixConn, m message, fd int) error {
	return sendBy(conn, m, fd, time.Now().Add(answerTimeout))
}

// sendBy is send with a deadline.
func sendBy(conn *net.UnixConn, m message, fd int, deadline time.Time) error {
	m.Protocol = protocol
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if _, _, err := conn.WriteMsgUnix(data, rights, nil); err != nil {
		return fmt.Errorf("send %s: %w", m.Verb, err)
	}
	return nil
}

// receive reads a message, and the descriptor that came with it, nil for none.
func receive(conn *net.UnixConn) (message, *os.File, error) {
	data, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	n, oobn, flags, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		return message{}, nil, err
	}
	file, err := descriptor(rights[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message is too long")
	}
	var m message
	if err == nil {
		m, err = decode(data[:n])
	}
	if err == nil && (file != nil) != (m.Verb == verbSocket || m.Verb == verbStatistics) {
		err = fmt.Errorf("message %s: a descriptor is missing or unexpected", m.Verb)
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return message{}, nil, err
	}
	return m, file, nil
}

// over tells whether a channel has ended, for whatever reason.
func over(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

// descriptor takes the one descriptor out of control messages; the space for them has room for no more.
func descriptor(rights []byte) (*os.File, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	all, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("read descriptor: %w", err)
	}
	for _, one := range all {
		fds, err := unix.ParseUnixRights(&one)
		if err != nil || len(fds) == 0 {
			continue
		}
		unix.CloseOnExec(fds[0])
		return os.NewFile(uintptr(fds[0]), "socket"), nil
	}
	return nil, nil
}

// peer is the pid of the process at the other end, if it is to be trusted.
func peer(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, fmt.Errorf("read credentials of the other process: %w", credErr)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return 0, fmt.Errorf("the other process (pid %d) runs as user %d: %w", cred.Pid, cred.Uid, syscall.EPERM)
	}
	return int(cred.Pid), nil
}

// address is the unix address of a name; @ begins an abstract one, as Envoy writes them, and as package net shows them in errors.
func address(name string) *net.UnixAddr { return &net.UnixAddr{Name: name, Net: "unixpacket"} }
