package rbac

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// errDenied ends reads of a connection that came to be denied while it was served.
var errDenied = errors.New("the connection was denied")

// judged is a connection that is judged anew whenever the client has sent something (enforcement_type CONTINUOUS). The first bytes
// are not: the judgement at the beginning was theirs.
type judged struct {
	net.Conn
	f     *Filter
	c     *filter.Connection
	heard bool // only the one that reads uses it
}

// NetConn is the connection below.
func (j *judged) NetConn() net.Conn { return j.Conn }

// CloseWrite half-closes the connection below, if it can.
func (j *judged) CloseWrite() error {
	if w, ok := j.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Read implements net.Conn. Bytes of a connection that is denied are not handed out, and it is closed.
func (j *judged) Read(p []byte) (int, error) {
	n, err := j.Conn.Read(p)
	if n == 0 && !errors.Is(err, io.EOF) {
		return n, err
	}
	first := !j.heard
	j.heard = true
	if first || j.f.allows(j.c.Info) {
		return n, err
	}
	if d := j.f.cfg.RBAC.DelayDeny; d > 0 {
		j.c.Hold(context.Background(), d)
	}
	_ = j.Conn.Close()
	return 0, errDenied
}
