package pool

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func BenchmarkReuse(b *testing.B) {
	for name, protocol := range map[string]model.UpstreamProtocol{"http1": model.UpstreamHTTP1, "http2": model.UpstreamHTTP2} {
		b.Run(name, func(b *testing.B) {
			f := newFixture(b, protocol, 100)
			f.word <- nil
			s, err := f.Connect(b.Context(), &Options{})
			if err != nil {
				b.Fatal(err)
			}
			s.Close()
			opt := &Options{}
			b.ReportAllocs()
			for b.Loop() {
				f.Reuse(opt).Close()
			}
		})
	}
}

func BenchmarkReuseParallel(b *testing.B) {
	f := newFixture(b, model.UpstreamHTTP1, 100)
	close(f.word)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		opt := &Options{}
		for pb.Next() {
			s := f.Reuse(opt)
			if s == nil {
				s, _ = f.Connect(b.Context(), opt)
			}
			s.Close()
		}
	})
}
