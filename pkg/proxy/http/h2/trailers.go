package h2

import "github.com/weir-proxy/weir/pkg/proxy/http/message"

// trailerBuilder takes the fields behind a payload (RFC 9113 section 8.1).
type trailerBuilder struct {
	st      *stream
	limits  *limits
	count   fieldCount
	wrong   error
	tooMuch bool
}

var _ fieldSink = (*trailerBuilder)(nil)

// field implements fieldSink.
func (b *trailerBuilder) field(f *field) (more bool) {
	b.count.bytes += len(f.Name) + len(f.Value)
	b.count.fields++
	switch {
	case f.pseudo != notPseudo, f.badName, f.badValue, ofOneHop(f.ID):
		b.wrong = streamErrorf(codeProtocol, "invalid field %q in trailers", f.Name)
	case b.count.bytes > b.limits.headerBytes, b.count.fields > b.limits.headerCount:
		b.tooMuch = true
		b.wrong = streamErrorf(codeProtocol, "trailers of more than %d bytes or %d fields", b.limits.headerBytes, b.limits.headerCount)
	case f.ID == message.ContentLength, f.ID == message.Host, f.ID == message.TE, f.ID == message.HTTP2Settings:
		// without meaning here, and not to be merged into a head by whoever comes behind us
	default:
		b.st.trailers.Append(f.Field)
	}
	return b.wrong == nil
}

// endWithTrailers ends a message with the trailers that were decoded. The caller holds mu.
func (c *link) endWithTrailers(st *stream, end bool, b *trailerBuilder) error {
	switch {
	case st.recvEnd:
		return streamErrorf(codeStreamClosed, "HEADERS behind the end of the stream")
	case b.tooMuch:
		c.stats.HeaderOverflow.Inc()
		return b.wrong
	case b.wrong != nil:
		return c.messaging(b.wrong)
	case !end:
		return c.messaging(streamErrorf(codeProtocol, "trailers that do not end the stream"))
	}
	st.recvTrailer.Store(uint64(b.count.bytes))
	c.stats.Trailers.Inc()
	return c.messaging(st.endReceive())
}

// endTrailers are the trailers of a message that was read to its end; nil when there are none.
func (st *stream) endTrailers() *message.Headers {
	if !st.recvEnd || st.queued > 0 || st.trailers.Len() == 0 {
		return nil
	}
	return &st.trailers
}
