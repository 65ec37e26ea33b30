package acceleration

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// verdict is what is in force.
type verdict struct {
	mode model.AccelerationMode
	// why it is less than was asked for; empty when it is not.
	why string
}

// host says what this host allows.
type host struct {
	// supported tells what the kernel lacks, or is known to do wrong.
	supported func() error
	// test has bytes redirected between sockets of its own, into those that stand for applications too with full.
	test func(full bool) error
}

// decide gives the most of what was asked for that works here.
func decide(asked model.AccelerationMode, h host) verdict {
	if asked == model.AccelerateNothing {
		return verdict{}
	}
	if err := h.supported(); err != nil {
		return verdict{why: err.Error()}
	}
	v := verdict{mode: asked}
	if asked == model.AccelerateFull {
		err := h.test(true)
		if err == nil {
			return v
		}
		v = verdict{mode: model.AccelerateReceive, why: fmt.Sprintf("the test of FULL did not succeed: %v", err)}
	}
	if err := h.test(false); err != nil {
		v = verdict{why: fmt.Sprintf("the test at start did not succeed: %v", err)}
	}
	return v
}
