package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
)

// A daemon that has not begun to answer after patience is asked for its readiness, too. When it does not begin to answer that within
// lastCall either, it is silent; otherwise the answer is only long in the making.
const (
	patience = 3 * time.Second
	lastCall = 1500 * time.Millisecond
)

// silentError says that somebody holds the admin interface, and does not answer.
type silentError struct {
	at string
	// pid is the process that listens there, 0 where that is not known.
	pid     int
	stopped bool
}

// Error says who it is, what follows from it and what to do.
func (e *silentError) Error() string {
	who := "the daemon"
	if e.pid != 0 {
		who = fmt.Sprintf("the process %d (%s)", e.pid, commandOf(e.pid))
	}
	text := fmt.Sprintf("%s, whose admin interface is at %s, does not answer: it listens, and takes nothing from its sockets\n"+
		"Captured connections stand still, and new ones wait for it in vain; those that the kernel has offloaded go on.\n", who, e.at)
	switch {
	case e.stopped:
		return text + fmt.Sprintf("It is stopped (SIGSTOP, or a debugger): `kill -CONT %d` lets it go on.", e.pid)
	case e.pid != 0:
		return text + fmt.Sprintf("It is not stopped, so that it hangs or has too little of a processor: `kill -QUIT %d` ends it and has it write "+
			"to its standard error what each of its goroutines does. Then start it again.", e.pid)
	}
	return text + "Find the process that listens there; `kill -CONT PID` lets one go on that is stopped, one that hangs has to be started again."
}

// watchSilence cancels a request, with a silentError as the cause, when the daemon at an address answers nothing at all. It returns
// when ctx is done.
func watchSilence(ctx context.Context, cancel context.CancelCauseFunc, network, target, address string) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(patience):
	}
	if !answers(ctx, network, target) && ctx.Err() == nil {
		pid := listenerOf(network, target)
		cancel(&silentError{at: address, pid: pid, stopped: pid != 0 && isStopped(pid)})
	}
}

// answers tells whether somebody answers anything that is asked at an address.
func answers(ctx context.Context, network, target string) bool {
	ctx, cancel := context.WithTimeout(ctx, lastCall)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, target)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	if _, err := conn.Write([]byte("GET /ready HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n")); err != nil {
		return false
	}
	n, _ := conn.Read(make([]byte, 1))
	return n > 0
}

// listenerOf finds the process that listens at an address, 0 when it cannot be seen from here.
func listenerOf(network, target string) int {
	if network == "unix" {
		return unixListener(target)
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return 0
	}
	at, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return 0
	}
	inode, err := tcpListener(at.AddrPort())
	if err != nil || inode == 0 {
		return 0
	}
	return processWith(fmt.Sprintf("socket:[%d]", inode))
}

// unixListener asks the kernel who called listen() (SO_PEERCRED, unix(7)). Connecting needs no accept().
func unixListener(path string) int {
	conn, err := net.DialTimeout("unix", path, lastCall)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	if err := raw.Control(func(fd uintptr) {
		if who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(who.Pid)
		}
	}); err != nil {
		return 0
	}
	return pid
}

// tcpListener is the inode of the socket that listens at an address; one at the address itself goes before one at any.
func tcpListener(at netip.AddrPort) (inode uint32, err error) {
	c, err := sockdiag.Open()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	want, exact := at.Addr().Unmap(), false
	err = c.Dump(sockdiag.Query{States: []sockdiag.State{sockdiag.Listen}}, func(s *sockdiag.Socket) {
		local := s.Local.Addr().Unmap()
		if s.Local.Port() != at.Port() || exact || local != want && !s.Local.Addr().IsUnspecified() {
			return
		}
		inode, exact = s.Inode, local == want
	})
	return inode, err
}

// processWith finds a process that has a descriptor of this name, 0 when there is none.
func processWith(name string) int {
	all, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0
	}
	for _, fd := range all {
		if target, err := os.Readlink(fd); err == nil && target == name {
			pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
			return pid
		}
	}
	return 0
}

// isStopped tells whether a process is stopped or traced, as the third field of /proc/PID/stat says (proc_pid_stat(5)).
func isStopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	at := strings.LastIndexByte(string(text), ')') // the name before it may have anything in it
	return at >= 0 && len(text) > at+2 && strings.IndexByte("Tt", text[at+2]) >= 0
}

func commandOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "gone"
	}
	return printable(strings.TrimSpace(string(text)))
}

// silence is why a request ended: that nobody answers, rather than that it was canceled for it.
func silence(ctx context.Context, err error) error {
	var silent *silentError
	if errors.As(context.Cause(ctx), &silent) {
		return silent
	}
	return err
}

// stalled tells why connections of processes in the cgroup with the directory dir would get no answer: every weir that captures them is
// stopped, or is the one at the default admin interface and says nothing. nil says nothing of those at other addresses.
func stalled(ctx context.Context, dir string) error {
	programs, err := intercept.Capturing(dir)
	if err != nil {
		return err
	}
	var ids []uint32
	for _, p := range programs {
		ids = append(ids, p.ID)
	}
	var weirs []int
	for _, pids := range program.Holders(ids...) {
		weirs = append(weirs, pids...)
	}
	for _, pid := range weirs {
		if isStopped(pid) {
			return fmt.Errorf("the weir that captures connections of this command, process %d, is stopped (SIGSTOP, or a debugger): "+
				"they would wait for it in vain\n`kill -CONT %[1]d` lets it go on; -c FILE starts a private one", pid)
		}
	}
	if pid := listenerOf("tcp", defaultAdmin); pid == 0 || !slices.Contains(weirs, pid) {
		return nil
	}
	if _, err := askAdmin(ctx, defaultAdmin, "", "/ready"); errors.As(err, new(*silentError)) {
		return err
	}
	return nil
}

// unreachable tells whether nobody is where the admin interface was looked for.
func unreachable(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED)
}
