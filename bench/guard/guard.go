// A peer: what one would write in Go around a call: a channel as semaphore, a mutex around a circuit breaker with a
// window of ten seconds, a context with a deadline, and a histogram. Prints rows, each a JSON object.
package main

import (
	"context"
	"fmt"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	rounds   = 200_000
	limit    = 5000
	deadline = 10 * time.Second
)

var edges = []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5}

type histogram struct {
	buckets [13]atomic.Uint64
	sum     atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	h.buckets[sort.SearchFloat64s(edges, d.Seconds())].Add(1)
	h.sum.Add(int64(d))
}

type pool struct {
	places  chan struct{}
	service histogram
}

func (p *pool) call(ctx context.Context, fn func()) {
	begun := time.Now()
	select {
	case p.places <- struct{}{}:
	default:
		select {
		case p.places <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
	fn()
	<-p.places
	p.service.observe(time.Since(begun))
}

type upstream struct {
	pool
	mutex     sync.Mutex
	window    [10]struct{ second, calls, errors int64 }
	openUntil time.Time
}

func (u *upstream) call(ctx context.Context, fn func()) {
	u.mutex.Lock()
	open := u.openUntil.After(time.Now())
	u.mutex.Unlock()
	if open {
		return
	}
	u.pool.call(ctx, fn)
	now := time.Now()
	second := now.Unix()
	u.mutex.Lock()
	defer u.mutex.Unlock()
	bucket := &u.window[second%10]
	if bucket.second != second {
		bucket.second, bucket.calls, bucket.errors = second, 0, 0
	}
	bucket.calls++
	var calls, errors int64
	for i := range u.window {
		calls += u.window[i].calls
		errors += u.window[i].errors
	}
	if calls >= 20 && errors*2 > calls {
		u.openUntil = now.Add(2 * time.Second)
	}
}

func cpu() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func main() {
	p := &pool{places: make(chan struct{}, limit)}
	u := &upstream{pool: pool{places: make(chan struct{}, limit)}}
	nothing := func() {}
	cases := []struct {
		name string
		call func()
	}{
		{"pool", func() { p.call(context.Background(), nothing) }},
		{"upstream", func() { u.call(context.Background(), nothing) }},
		{"deadline, pool and upstream", func() {
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			p.call(ctx, func() { u.call(ctx, nothing) })
		}},
	}
	for threads := 1; threads <= 2; threads++ {
		runtime.GOMAXPROCS(threads)
		for _, c := range cases {
			var all sync.WaitGroup
			start, used := time.Now(), cpu()
			for i := 0; i < threads; i++ {
				all.Add(1)
				go func() {
					defer all.Done()
					for i := 0; i < rounds; i++ {
						c.call()
					}
				}()
			}
			all.Wait()
			wall, used := time.Since(start), cpu()-used
			s := "s"
			if threads == 1 {
				s = ""
			}
			fmt.Printf("{\"case\": \"%s, %d thread%s\", \"subject\": \"go\", \"ns\": %.1f, \"cpu_ns\": %.1f}\n", c.name,
				threads, s, float64(wall)/rounds, float64(used)/float64(rounds*threads))
		}
	}
}
