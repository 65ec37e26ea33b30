package main

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that Go's scheduler is not told of, so that applications behave as programs in C do. It would take the processor from a
// thread whose call takes longer than 20 us, have it asked for one afterwards, and wake up a thread for that again and again, which
// takes time from whatever is measured. A thread in such a call holds back the collection of garbage: see plain.

// plain is the environment of applications that make such calls: threads that wait for connections keep their processors, and no
// garbage is collected.
func plain() []string { return []string{"GOMAXPROCS=16", "GOGC=off"} }

func failure(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// sockaddr4 is struct sockaddr_in.
type sockaddr4 struct {
	family uint16
	port   [2]byte
	addr   [4]byte
	zero   [8]byte
}

// again makes a call until no signal ends it: Go sends them to its threads to preempt them. A connect() that is made again waits on
// for the connection that the first one began.
func again(call func() (uintptr, syscall.Errno)) (int, error) {
	for {
		n, errno := call()
		if errno != unix.EINTR {
			return int(n), failure(errno)
		}
	}
}

func rawConnect(fd int, to *unix.SockaddrInet4) error {
	addr := sockaddr4{family: unix.AF_INET, addr: to.Addr}
	binary.BigEndian.PutUint16(addr.port[:], uint16(to.Port))
	_, err := again(func() (uintptr, syscall.Errno) {
		_, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr)), unsafe.Sizeof(addr))
		return 0, errno
	})
	return err
}

func rawRead(fd int, buf []byte) (int, error) {
	return again(func() (uintptr, syscall.Errno) {
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)))
		return n, errno
	})
}

func rawWrite(fd int, buf []byte) error {
	_, err := again(func() (uintptr, syscall.Errno) {
		n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)))
		return n, errno
	})
	return err
}

func rawClose(fd int) error {
	_, _, errno := syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return failure(errno)
}

func rawAccept(fd int) (int, error) {
	return again(func() (uintptr, syscall.Errno) {
		c, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		return c, errno
	})
}

// rawLocal is the address of an IPv4 socket.
func rawLocal(fd int) (addr [4]byte, err error) {
	var own sockaddr4
	size := uint32(unsafe.Sizeof(own))
	_, _, errno := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&own)), uintptr(unsafe.Pointer(&size)))
	return own.addr, failure(errno)
}
