package netns

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// noticeSize is more than one notice takes. What is cut off, or lost for want of room, is a notice still: nothing in it is read.
const noticeSize = 4096

// Changes are the changes of the devices and addresses of a network namespace.
type Changes struct {
	notices *os.File
	told    sync.WaitGroup
}

// WatchAddresses calls changed, from a goroutine of its own, whenever a device or an address came, went or changed in the network
// namespace of the calling thread. Close must follow.
func WatchAddresses(changed func()) (*Changes, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch addresses: %w", err)
	}
	c := &Changes{notices: os.NewFile(uintptr(fd), "rtnetlink")}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("watch addresses: %w", err), c.notices.Close())
	}
	c.told.Go(func() {
		var buf [noticeSize]byte
		for {
			if _, err := c.notices.Read(buf[:]); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			changed()
		}
	})
	return c, nil
}

// Close ends the calls. It waits for one that is under way.
func (c *Changes) Close() error {
	err := c.notices.Close()
	c.told.Wait()
	return err
}
