package acceleration

import (
	"context"
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/accel"
)

// verdict is what is in force.
type verdict struct {
	mode model.AccelerationMode
	// named is true when nothing but the applications that were named may be taken in.
	named bool
	// why it is less than was asked for; empty when it is not.
	why string
}

// host says what this host allows.
type host struct {
	// supported tells what the kernel lacks for a mode, or is known to do wrong.
	supported func(accel.Mode) error
	// test has bytes redirected between sockets of its own.
	test func(context.Context, accel.Mode) error
	// counts tells whether applications whose sockets are taken in can ask how many bytes wait for them.
	counts func(context.Context) error
}

// decide gives the most of what was asked for that works here; named tells whether applications were.
func decide(ctx context.Context, asked model.AccelerationMode, named bool, h host) (v verdict) {
	for mode := asked; mode > model.AccelerateNothing; mode-- {
		err := h.allows(ctx, map[model.AccelerationMode]accel.Mode{model.AccelerateReceive: accel.Receive, model.AccelerateFull: accel.Full}[mode])
		if err == nil {
			v.mode = mode
			return h.narrow(ctx, v, named)
		}
		if v.why != "" {
			v.why += "; "
		}
		v.why += fmt.Sprintf("%s: %v", mode, err)
	}
	return v
}

// narrow leaves applications alone that nobody has vouched for where they might be misled.
func (h host) narrow(ctx context.Context, v verdict, named bool) verdict {
	err := h.counts(ctx)
	if err == nil {
		return v
	}
	if v.why != "" {
		v.why += "; "
	}
	if v.named = named; named {
		v.why += fmt.Sprintf("only the sockets of acceleration.applications are taken in: %v", err)
		return v
	}
	v.why += fmt.Sprintf("%s: only acceleration.applications could be accelerated, and there are none: %v", v.mode, err)
	v.mode = model.AccelerateNothing
	return v
}

func (h host) allows(ctx context.Context, m accel.Mode) error {
	if err := h.supported(m); err != nil {
		return err
	}
	return h.test(ctx, m)
}
