package conn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// SetOptions sets those options of a socket that are to be set after it listens (late), or the others. The error names the option.
func SetOptions(fd int, list []model.SocketOption, late bool) error {
	for i := range list {
		if list[i].Late != late {
			continue
		}
		if err := setConfigured(fd, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// SetMissingOptions sets all options of a socket that another process has opened, except for those whose value is there already: some
// could only be set before bind.
func SetMissingOptions(fd int, list []model.SocketOption) error {
	for i := range list {
		if list[i].Bytes == nil {
			if is, err := unix.GetsockoptInt(fd, list[i].Level, list[i].Name); err == nil && is == list[i].Int {
				continue
			}
		}
		if err := setConfigured(fd, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// SameOptions tells whether sockets with these options are alike.
func SameOptions(a, b []model.SocketOption) bool {
	return slices.EqualFunc(a, b, func(x, y model.SocketOption) bool {
		return x.Level == y.Level && x.Name == y.Name && x.Int == y.Int && x.Late == y.Late &&
			(x.Bytes == nil) == (y.Bytes == nil) && string(x.Bytes) == string(y.Bytes)
	})
}

func setConfigured(fd int, o *model.SocketOption) error {
	var err error
	if o.Bytes != nil {
		err = unix.SetsockoptString(fd, o.Level, o.Name, string(o.Bytes))
	} else {
		err = unix.SetsockoptInt(fd, o.Level, o.Name, o.Int)
	}
	if err != nil {
		return fmt.Errorf("set socket option %d of level %d: %w", o.Name, o.Level, err)
	}
	return nil
}

// ListenError is what an error of net.ListenConfig says beside the address.
func ListenError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
}
