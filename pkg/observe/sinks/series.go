package sinks

import "github.com/weir-proxy/weir/pkg/observe/stats"

// Each gives the used stats of the given kinds, those of one metric after each other. base is the name without the values of
// tags, s.Name the full one. It stops at the first error, which it returns.
func Each(store *stats.Store, give func(base string, tags []stats.Tag, s *stats.Series) error, ks ...stats.Kind) error {
	var members stats.MetricIterator
	for _, k := range ks {
		all := store.Metrics(k)
		for i := range all {
			var err error
			members.Each(&all[i], func(s *stats.Series, l *stats.Labels) bool {
				if s.Used() {
					err = give(all[i].Metric.Base, l.Tags, s)
				}
				return err == nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
