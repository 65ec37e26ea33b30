package loadreport

import (
	"context"
	"errors"
	"io"

	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
)

// receive hands over what the server says until the stream ends, and then why: nil for an orderly end.
func receive(ctx context.Context, st loadv3.LoadReportingService_StreamLoadStatsClient, answers chan<- *loadv3.LoadStatsResponse, ended chan<- error) {
	defer close(answers)
	for {
		a, err := st.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			ended <- err
			return
		}
		select {
		case answers <- a:
		case <-ctx.Done():
		}
	}
}

// endOf is why a stream ended on which sending failed: the receiver knows what the sender only learns as EOF.
func endOf(err error, ended <-chan error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return <-ended
}
