package callers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// list joins candidates, the first ones if there are many.
func list(all []string) string {
	if more := len(all) - maxShown; more > 0 {
		return strings.Join(all[:maxShown], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(all, "; ")
}

// near names the words that are nearest to the one that was not found, if any is near.
func near(word string, all []string) string {
	const most = 3
	type scored struct {
		word  string
		score int
	}
	var close []scored
	seen := make(map[string]bool)
	for _, w := range all {
		if seen[w] || w == "" {
			continue
		}
		seen[w] = true
		score := distance(word, w)
		if strings.Contains(w, word) && word != "" {
			score = 0
		}
		if score <= max(1, len(word)/3) {
			close = append(close, scored{w, score})
		}
	}
	slices.SortFunc(close, func(a, b scored) int { return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.word, b.word)) })
	if len(close) == 0 {
		return ""
	}
	var words []string
	for _, c := range close[:min(most, len(close))] {
		words = append(words, c.word)
	}
	return " (did you mean " + strings.Join(words, ", ") + "?)"
}

// distance is how many bytes have to be added, removed or replaced to make one word of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
