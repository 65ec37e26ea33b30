package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// serveGRPC answers every HTTP/2 request with what it sent and grpc-status 0, until ctx is done. It knows no more of
// HTTP/2 than the proxies need, so that it leaves them the processor.
func serveGRPC(ctx context.Context, port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		conns.Go(func() {
			defer stop()
			defer c.Close()
			(&echo{c: c, payload: map[uint32][]byte{}}).serve()
		})
	}
}

// echo is one connection of the gRPC backend.
type echo struct {
	c       net.Conn
	out     buffer
	fr      *http2.Framer
	payload map[uint32][]byte
	head    []byte // HPACK of the response's head
	tail    []byte // HPACK of the trailers
}

// buffer collects frames until nothing is left to read.
type buffer struct{ b []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

// source flushes what was written before it waits for more.
type source struct{ e *echo }

func (s source) Read(p []byte) (int, error) {
	if len(s.e.out.b) > 0 {
		if _, err := s.e.c.Write(s.e.out.b); err != nil {
			return 0, err
		}
		s.e.out.b = s.e.out.b[:0]
	}
	return s.e.c.Read(p)
}

func (e *echo) serve() {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(e.c, preface); err != nil || string(preface) != http2.ClientPreface {
		return
	}
	var block buffer
	// Never indexed, so that the blocks are the same for every response.
	enc := hpack.NewEncoder(&block)
	_ = enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = enc.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc", Sensitive: true})
	e.head = append(e.head, block.b...)
	block.b = block.b[:0]
	_ = enc.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "0", Sensitive: true})
	e.tail = append(e.tail, block.b...)
	e.fr = http2.NewFramer(&e.out, bufio.NewReaderSize(source{e}, 64<<10))
	e.fr.SetReuseFrames()
	if e.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1000}) != nil {
		return
	}
	for {
		f, err := e.fr.ReadFrame()
		if err != nil || e.frame(f) != nil {
			return
		}
	}
}

func (e *echo) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return e.fr.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return e.fr.WritePing(true, f.Data)
		}
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			return e.answer(f.StreamID, nil)
		}
	case *http2.DataFrame:
		id, n := f.StreamID, len(f.Data())
		e.payload[id] = append(e.payload[id], f.Data()...)
		if n > 0 {
			if err := errors.Join(e.fr.WriteWindowUpdate(0, uint32(n)), e.fr.WriteWindowUpdate(id, uint32(n))); err != nil && !f.StreamEnded() {
				return err
			}
		}
		if f.StreamEnded() {
			body := e.payload[id]
			delete(e.payload, id)
			return e.answer(id, body)
		}
	}
	return nil
}

func (e *echo) answer(id uint32, body []byte) error {
	return errors.Join(
		e.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: e.head, EndHeaders: true}),
		e.fr.WriteData(id, false, body),
		e.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: e.tail, EndHeaders: true, EndStream: true}),
	)
}
