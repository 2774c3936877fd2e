package loop

import "sync"

// SlowStart calls f n times in growing batches of 1, 2, 4, … calls at once, and stops
// after the first batch in which a call failed. It returns how many succeeded and the
// first error. A quota or a bad template then costs one request and not hundreds.
func SlowStart(n int, f func() error) (succeeded int, err error) {
	for batch := 1; n > 0; batch *= 2 {
		size := min(batch, n)
		failures := Parallel(size, func(int) error { return f() })
		succeeded += size - len(failures)
		if len(failures) > 0 {
			return succeeded, failures[0]
		}
		n -= size
	}
	return succeeded, nil
}

// Parallel calls f(0) … f(n-1) at once and returns the errors.
func Parallel(n int, f func(i int) error) []error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for i := range n {
		wg.Go(func() {
			if err := f(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errs
}
