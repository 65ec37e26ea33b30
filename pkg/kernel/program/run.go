package program

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
)

// Run runs a program on data (BPF_PROG_TEST_RUN), a pointer to a struct of fixed size which the program may change. It is an error when the
// program does not return 0.
func Run(p *ebpf.Program, data any) error {
	in, err := binary.Append(nil, binary.NativeEndian, data)
	if err != nil {
		return fmt.Errorf("encode data: %w", err)
	}
	out := make([]byte, len(in))
	code, err := p.Run(&ebpf.RunOptions{Data: in, DataOut: out})
	if err != nil {
		return fmt.Errorf("run program: %w", err)
	}
	if code != 0 {
		return fmt.Errorf("run program: it returned %d", int32(code))
	}
	if _, err := binary.Decode(out, binary.NativeEndian, data); err != nil {
		return fmt.Errorf("decode data: %w", err)
	}
	return nil
}
