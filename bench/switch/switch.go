// A peer: what Go's goroutines cost on one processor. Prints one JSON object of nanoseconds.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const rounds = 1000000

// That the process ran: its collector too.
func used() int64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func nanoseconds(count int, f func()) float64 {
	start := used()
	f()
	return float64(used()-start) / float64(count)
}

func yield() float64 {
	var both sync.WaitGroup
	both.Add(2)
	loop := func() {
		for i := 0; i < rounds/2; i++ {
			runtime.Gosched()
		}
		both.Done()
	}
	return nanoseconds(rounds, func() {
		go loop()
		go loop()
		both.Wait()
	})
}

func spawnJoin() float64 {
	return nanoseconds(rounds, func() {
		for i := 0; i < rounds; i++ {
			var done sync.WaitGroup
			done.Add(1)
			go done.Done()
			done.Wait()
		}
	})
}

func channel() float64 {
	items := make(chan int)
	return nanoseconds(rounds, func() {
		go func() {
			for i := 0; i < rounds; i++ {
				items <- i
			}
			close(items)
		}()
		for range items {
		}
	})
}

func handoff() float64 {
	ping, pong := make(chan struct{}), make(chan struct{})
	return nanoseconds(rounds, func() {
		go func() {
			for range ping {
				pong <- struct{}{}
			}
			close(pong)
		}()
		for i := 0; i < rounds/2; i++ {
			ping <- struct{}{}
			<-pong
		}
		close(ping)
	})
}

func timer() float64 {
	return nanoseconds(rounds, func() {
		for i := 0; i < rounds; i++ {
			time.NewTimer(time.Hour).Stop()
		}
	})
}

func main() {
	runtime.GOMAXPROCS(1)
	fmt.Printf(`{"yield_ns":%.1f,"spawn_join_ns":%.1f,"channel_ns":%.1f,"handoff_ns":%.1f,"timer_ns":%.1f}`+"\n",
		yield(), spawnJoin(), channel(), handoff(), timer())
}
