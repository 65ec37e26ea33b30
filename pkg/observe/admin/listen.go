package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/observe/log"
)

// listen opens the socket that the options ask for.
func listen(opt *Options) (net.Listener, error) {
	var l net.Listener
	var err error
	switch {
	case opt.Pipe != "":
		l, err = listenPipe(opt)
	case !opt.Address.IsValid():
		return nil, errors.New("neither an address nor a pipe is given")
	default:
		network := "tcp6"
		if opt.Address.Addr().Unmap().Is4() {
			network = "tcp4"
		}
		config := net.ListenConfig{Control: control(opt, nil)}
		l, err = config.Listen(context.Background(), network, opt.Address.String())
	}
	if err != nil {
		return nil, err
	}
	if err := setLate(l, opt); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// control makes a function that prepares a socket before it is bound.
func control(opt *Options, more func(fd int) error) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return withSocket(c, func(fd int) error {
			if more != nil {
				if err := more(fd); err != nil {
					return err
				}
			}
			if opt.SetSocketOptions == nil {
				return nil
			}
			return opt.SetSocketOptions(fd, false)
		})
	}
}

// withSocket calls f with the descriptor.
func withSocket(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if failed := c.Control(func(fd uintptr) { err = f(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// setLate sets the options of a socket that listens.
func setLate(l net.Listener, opt *Options) error {
	if opt.SetSocketOptions == nil {
		return nil
	}
	socket, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("set socket options: %T has no socket", l)
	}
	c, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("set socket options: %w", err)
	}
	return withSocket(c, func(fd int) error { return opt.SetSocketOptions(fd, true) })
}

// listenPipe opens a unix socket. The mode is set on the socket before its file appears, so that there is no moment in which
// more people can connect than may.
func listenPipe(opt *Options) (net.Listener, error) {
	path, mode := opt.Pipe, opt.Mode
	abstract := strings.HasPrefix(path, "@")
	if !abstract {
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	var chmod func(fd int) error
	if mode != 0 && !abstract {
		chmod = func(fd int) error { return unix.Fchmod(fd, uint32(mode.Perm())) }
	}
	config := net.ListenConfig{Control: control(opt, chmod)}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil || mode == 0 || abstract {
		return l, err
	}
	// The umask took bits away when the file appeared.
	if err := os.Chmod(path, mode.Perm()); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale removes a socket file that a process left behind. Any other file is an error, and so is a socket that answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return fmt.Errorf("%s is served by another process", path)
	}
	return os.Remove(path)
}

// announce logs the address and writes it to the file of --admin-address-path. As in Envoy, a file that cannot be written is
// logged and does not keep the process from starting.
func (s *Server) announce() {
	address := addressText(s.Addr())
	s.log.Info("admin address: " + address)
	if s.opt.AddressPath == "" {
		return
	}
	if err := os.WriteFile(s.opt.AddressPath, []byte(address), 0o644); err != nil {
		s.log.Log(context.Background(), log.LevelCritical, "cannot write the admin address", "error", err)
	}
}

// addressText is an address as Envoy prints it: 127.0.0.1:9901, [::1]:9901, or the path of a unix socket.
func addressText(a net.Addr) string { return a.String() }
