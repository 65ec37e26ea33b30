package acceleration

import (
	"net/netip"

	"github.com/weir-proxy/weir/pkg/kernel/accel"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// adapter lets the proxy's connections use the kernel's side, which does not know them.
type adapter struct {
	kernel *accel.Accelerator
	local  *addresses
}

var _ conn.Accelerator = adapter{}

// Expect implements conn.Accelerator. When the kernel's table cannot be written, connections to the address stay as they are.
func (a adapter) Expect(addr netip.AddrPort) {
	if a.local.has(addr.Addr()) {
		_ = a.kernel.Expect(addr) // counted as a peer that was not captured
	}
}

// Accelerate implements conn.Accelerator. The kernel's side counts why not.
func (a adapter) Accelerate(fd int, local, remote netip.AddrPort, read uint64, begin func(conn.Lane)) {
	a.kernel.Accelerate(fd, local, remote, read, func(l *accel.Lane) {
		begin(conn.Lane{Read: l.Read, Mixed: l.Mixed, Release: l.Release})
	})
}
