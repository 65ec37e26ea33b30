package conn

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls are raw: they never wait, since the sockets are not blocking, so telling the scheduler about them would only cost time.
// What it costs is more than it seems: a call that the scheduler is told of wakes up the thread that watches over calls, which then
// looks every 20 us for some time. That is a sixth of the CPU time of a short connection.

// recvfrom reads into p, which must not be empty.
func recvfrom(fd int, p []byte, flags int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sendto writes what of p fits; p must not be empty.
func sendto(fd int, p []byte, flags int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// epollTake takes the events that are there; it does not wait. events must not be empty.
func epollTake(fd int, events []unix.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// epollCtl changes what an epoll instance watches.
func epollCtl(fd, op, of int, event *unix.EpollEvent) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(fd), uintptr(op), uintptr(of), uintptr(unsafe.Pointer(event)), 0, 0)
	return errno
}

// accept4 takes a connection that is there, as a socket that does not block.
func accept4(fd int) (accepted int, remote netip.AddrPort, errno syscall.Errno) {
	var from syscall.RawSockaddrAny
	size := uint32(syscall.SizeofSockaddrAny)
	n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(n), zoned(addrPortOf(&from)), 0
}

// getsockname tells a socket's own address, and the link that it is on, 0 when it does not need one.
func getsockname(fd int) (name netip.AddrPort, link uint32, errno syscall.Errno) {
	var to syscall.RawSockaddrAny
	size := uint32(syscall.SizeofSockaddrAny)
	if _, _, errno = syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&to)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return netip.AddrPort{}, 0, errno
	}
	name, link = addrPortOf(&to)
	return name, link, 0
}

// tcpSocket opens a TCP socket that does not block.
func tcpSocket(family int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_SOCKET, uintptr(family), syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, syscall.IPPROTO_TCP)
	if errno != 0 {
		return -1, errno
	}
	return int(n), 0
}

// setOption sets an option that is a number.
func setOption(fd, level, option, value int) syscall.Errno {
	v := int32(value)
	_, _, errno := syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	return errno
}

// dial begins to connect, or tells how far that is.
func dial(fd int, to netip.AddrPort, link uint32) syscall.Errno {
	var sa syscall.RawSockaddrInet6
	size := uintptr(syscall.SizeofSockaddrInet6)
	if to.Addr().Is4() {
		sa4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&sa))
		sa4.Family, sa4.Port, sa4.Addr = syscall.AF_INET, swapped(to.Port()), to.Addr().As4()
		size = syscall.SizeofSockaddrInet4
	} else {
		sa.Family, sa.Port, sa.Addr, sa.Scope_id = syscall.AF_INET6, swapped(to.Port()), to.Addr().As16(), link
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), size)
	return errno
}

// shutdownWrite sends a FIN.
func shutdownWrite(fd int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0)
	return errno
}

// closeSocket closes a socket that does not linger.
func closeSocket(fd int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
	return errno
}

// addrPortOf is an address of the kernel's, unmapped, and the link that it is on, 0 when it does not need one; the zero value for unix
// sockets.
func addrPortOf(name *syscall.RawSockaddrAny) (addr netip.AddrPort, link uint32) {
	switch name.Addr.Family {
	case syscall.AF_INET:
		sa := (*syscall.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), swapped(sa.Port)), 0
	case syscall.AF_INET6:
		sa := (*syscall.RawSockaddrInet6)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), swapped(sa.Port)), sa.Scope_id
	}
	return netip.AddrPort{}, 0
}

// swapped turns a port from network byte order to that of the machine, or back.
func swapped(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
