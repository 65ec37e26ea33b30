package e2e

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

const clusterURL = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

// raw is a message that is sent as it is.
type raw []byte

// rawCodec sends raw messages, and takes any.
type rawCodec struct{}

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(raw))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "proto" }

func encode(m proto.Message) raw {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // it is a message of the test itself
	}
	return b
}
