package h1

import (
	"bytes"
	"io"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// chunkState is where in the chunked coding (RFC 9112 section 7.1) the reader stands.
type chunkState uint8

const (
	chunkSize     chunkState = iota // before a chunk's size line
	chunkData                       // within a chunk's data
	chunkEnd                        // before the line end that closes a chunk's data
	chunkTrailers                   // behind the last chunk
	chunkDone
)

// maxChunkLine bounds a size line with its extensions, in bytes.
const maxChunkLine = 4 << 10

// readChunked decodes into p. Data of a large chunk goes from the connection straight into p.
func (b *body) readChunked(p []byte) (int, error) {
	for {
		if err := b.advance(); err != nil {
			return 0, err
		}
		switch {
		case b.chunk == chunkDone:
			b.finish()
			return 0, io.EOF
		case b.chunk == chunkData && b.rd.buffered() > 0:
			n := copy(p[:min(int64(len(p)), b.left)], b.rd.unread())
			b.rd.r += n
			return b.took(n)
		case b.chunk == chunkData && b.left >= blockSize && len(p) >= minRoom:
			n, err := b.rd.conn.Read(p[:min(int64(len(p)), b.left)])
			if n == 0 {
				return 0, b.ended(err)
			}
			return b.took(n)
		}
		if err := b.rd.fill(); err != nil {
			return 0, b.ended(err)
		}
	}
}

// took accounts for n bytes of chunk data and steps on as far as that needs no read, so that the end of the body is seen
// together with its last bytes. Errors wait for the next read.
func (b *body) took(n int) (int, error) {
	if b.left -= int64(n); b.left == 0 {
		b.chunk = chunkEnd
	}
	if b.advance() == nil && b.chunk == chunkDone {
		b.finish()
		return n, io.EOF
	}
	return n, nil
}

// advance decodes what is buffered up to the next data byte, the end, or the end of what is buffered.
func (b *body) advance() error {
	if b.err != nil && b.err != io.EOF {
		return b.err
	}
	for {
		var more bool
		var bad *codec.Error
		switch b.chunk {
		case chunkSize:
			more, bad = b.sizeLine()
		case chunkEnd:
			more, bad = b.dataEnd()
		case chunkTrailers:
			more, bad = b.trailerSection()
		default:
			return nil
		}
		if bad != nil {
			return b.fail(bad)
		}
		if more {
			return nil
		}
	}
}

// sizeLine reads chunk-size [chunk-ext] CRLF; extensions are dropped. more asks for further bytes.
func (b *body) sizeLine() (more bool, bad *codec.Error) {
	u := b.rd.unread()
	i := bytes.IndexByte(u, '\n')
	if i > maxChunkLine || i < 0 && len(u) > maxChunkLine {
		return false, malformed("chunk_line_too_long", detailsCodec, "chunk size line exceeds %d bytes", maxChunkLine)
	}
	if i < 0 {
		return true, nil
	}
	if i < 1 || u[i-1] != '\r' {
		return false, malformed("bad_chunk_size", detailsCodec, "chunk size line without carriage return")
	}
	n, ok := parseChunkSize(u[:i-1])
	if !ok {
		return false, malformed("bad_chunk_size", detailsCodec, "invalid chunk size line %q", u[:min(i-1, 32)])
	}
	b.rd.r += i + 1
	b.left, b.chunk = n, chunkData
	if n == 0 {
		b.chunk = chunkTrailers
	}
	return false, nil
}

// parseChunkSize reads 1*HEXDIG, up to 15 digits, and checks that what follows is an extension without control characters.
func parseChunkSize(line []byte) (n int64, ok bool) {
	i := 0
	for ; i < len(line); i++ {
		d := hexDigit(line[i])
		if d > 15 {
			break
		}
		n = n<<4 | int64(d)
	}
	if i == 0 || i > 15 {
		return 0, false
	}
	ext := line[i:]
	if len(ext) == 0 {
		return n, true
	}
	if ext = trimOWS(ext); len(ext) == 0 {
		return 0, false // white space alone: not in the grammar, and read differently elsewhere
	}
	return n, ext[0] == ';' && cleanValue(ext)
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

func (b *body) dataEnd() (more bool, bad *codec.Error) {
	u := b.rd.unread()
	if len(u) > 0 && u[0] != '\r' || len(u) > 1 && u[1] != '\n' {
		return false, malformed("bad_chunk_end", detailsCodec, "chunk data is not followed by a line end")
	}
	if len(u) < 2 {
		return true, nil
	}
	b.rd.r += 2
	b.chunk = chunkSize
	return false, nil
}

// trailerSection reads the fields behind the last chunk, all at once, so that their views stay where they are.
func (b *body) trailerSection() (more bool, bad *codec.Error) {
	u := b.rd.unread()
	if len(u) >= 2 && u[0] == '\r' && u[1] == '\n' {
		b.rd.r += 2
		b.chunk = chunkDone
		return false, nil
	}
	i := bytes.Index(u, blankLine)
	switch {
	case i > b.limits.bytes || i < 0 && len(u) > b.limits.bytes:
		return false, violation(431, "trailers_too_large", detailsTooLarge, "trailers exceed %d bytes", b.limits.bytes)
	case i >= 0:
	case bareLF(u, 0) >= 0:
		return false, malformed("bare_lf", detailsCodec, "line feed without carriage return in trailers")
	default:
		return true, nil
	}
	b.rd.r += i + len(blankLine)
	b.rd.pin()
	b.chunk = chunkDone
	ctl := control{of: ofTrailers}
	if _, bad := parseFields(u[:i+len(blankLine)], &b.trailers, &b.limits, &ctl); bad != nil {
		return false, bad
	}
	if !b.keep {
		b.trailers.Reset()
	}
	return false, nil
}

// notInTrailers are fields that would change framing, routing, authentication or what the content is after the fact (RFC
// 9110 section 6.5.1), and those of one hop; read only.
var notInTrailers = [256]bool{
	message.ContentLength: true, message.TransferEncoding: true, message.TE: true, message.Trailer: true, message.Host: true,
	message.Connection: true, message.KeepAlive: true, message.ProxyConnection: true, message.HTTP2Settings: true,
	message.Upgrade: true, message.Expect: true, message.MaxForwards: true, message.Range: true, message.Authorization: true,
	message.ProxyAuthorization: true, message.ProxyAuthenticate: true, message.WWWAuthenticate: true, message.Cookie: true,
	message.SetCookie: true, message.ContentEncoding: true, message.ContentType: true, message.CacheControl: true,
	message.Location: true, message.Forwarded: true, message.XForwardedFor: true, message.XForwardedHost: true,
	message.XForwardedPort: true, message.XForwardedProto: true, message.XForwardedClientCert: true,
}
