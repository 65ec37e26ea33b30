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
	if opt.Pipe != "" {
		return listenPipe(opt.Pipe, opt.Mode)
	}
	if !opt.Address.IsValid() {
		return nil, errors.New("neither an address nor a pipe is given")
	}
	network := "tcp6"
	if opt.Address.Addr().Unmap().Is4() {
		network = "tcp4"
	}
	var config net.ListenConfig
	return config.Listen(context.Background(), network, opt.Address.String())
}

// listenPipe opens a unix socket. The mode is set on the socket before its file appears, so that there is no moment in which
// more people can connect than may.
func listenPipe(path string, mode fs.FileMode) (net.Listener, error) {
	abstract := strings.HasPrefix(path, "@")
	if !abstract {
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	var config net.ListenConfig
	if mode != 0 && !abstract {
		config.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if ctl := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm())) }); ctl != nil {
				return ctl
			}
			return err
		}
	}
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
