"""The figures of the demo, from records whose answer is known."""

import unittest

import criteria
import report
import scenario
import scenarios
import upstream_watch
import watch


def user(number, path="/browse", good=True, seconds=0.2, tries=1, at=0.0, phase="normal"):
    return {"user": number, "phase": phase, "path": path, "at": at, "good": good, "seconds": seconds, "tries": tries}


def run(records, calls=None, **more):
    phases = list(dict.fromkeys(record["phase"] for record in records))
    return report.Run(mode="penstock", phases=phases, records=records, calls=calls or {}, shed={}, **more)


class Report(unittest.TestCase):
    def test_goodput_is_told_apart_by_need_of_a(self):
        records = [user(0), user(1), user(2, "/checkout"), user(3, "/history", good=False, seconds=10.0)]
        (phase,) = report.summarise(run(records))["phases"]
        self.assertEqual(phase["users"], 4)
        self.assertEqual(phase["goodput"], 0.75)
        self.assertEqual(phase["affected_goodput"], 0.5)
        self.assertEqual(phase["unaffected_goodput"], 1.0)

    def test_p99_counts_the_unanswered_as_their_patience(self):
        records = [user(n, seconds=0.1) for n in range(97)] + [user(n, good=False, seconds=1.0) for n in range(97, 100)]
        (phase,) = report.summarise(run(records))["phases"]
        self.assertEqual(phase["unaffected_p99_ms"], 10000.0)

    def test_calls_of_tries_that_were_left_are_wasted(self):
        records = [user(5, "/checkout", tries=2), user(6, "/checkout", good=False)]
        calls = {"A": {"5.1": 1, "5.2": 1, "6.1": 1}, "B": {"5.2": 1}, "C": {"5.2": 1, "99.1": 8}}
        (phase,) = report.summarise(run(records, calls))["phases"]
        self.assertEqual(phase["wasted_call_ratio"], round(2 / 5, 5))
        self.assertEqual(phase["tries_per_user"], 1.5)

    def test_recovery_is_the_end_of_the_first_good_second_of_the_affected(self):
        records = [user(n, "/checkout", at=100.5 + n / 100, good=n >= 60) for n in range(300)]
        records += [user(1000, "/browse", at=102.7, good=False)]
        self.assertEqual(report.recovery_s(records, 100.5), 2.0)
        self.assertIsNone(report.recovery_s([user(1, "/history", at=3.0, good=False)], 2.0))
        self.assertIsNone(report.recovery_s(records, None))

    def test_the_table_has_a_column_per_run(self):
        one = report.summarise(run([user(1)], trip_s=2.04))
        lines = report.table([one, {**one, "mode": "threads"}]).splitlines()
        self.assertIn("penstock", lines[0])
        self.assertIn("threads", lines[0])
        self.assertTrue(any(line.split() == ["A", "cut", "off", "after", "2.0", "s", "2.0", "s"] for line in lines))


    def test_cpu_that_nobody_used_counts_as_lost(self):
        records = [user(n) for n in range(90)] + [user(90, at=8.9), user(91, good=False)]
        (phase,) = report.summarise(run(records, page_cpu_s=0.04, cpu_s={"normal": (3.6, 0.4)}, spans={"normal": (0, 9)}))["phases"]
        self.assertEqual(phase["useful_cpu"], 0.9)


class Knee(unittest.TestCase):
    @staticmethod
    def samples(*spans):
        """(seconds, answers a second, in flight), one after the other."""
        at, answered, made = 0.0, 0.0, []
        for seconds, rate, in_flight in spans:
            for _ in range(round(seconds * 4)):
                made.append((at, answered, in_flight))
                at, answered = at + 0.25, answered + rate * 0.25
        return made

    def test_is_found_where_answers_come_from_few_calls(self):
        samples = self.samples((10, 100, 20), (6, 100, 400), (14, 98, 40))
        found, held = upstream_watch.find_knee(samples, 10.0, 30.0, 100, 20)
        self.assertAlmostEqual(found, 6.0, delta=0.5)
        self.assertEqual(held, 1.0)

    def test_is_not_found_in_a_full_queue_nor_in_idleness(self):
        self.assertEqual(upstream_watch.find_knee(self.samples((20, 100, 400)), 0, 20, 100, 20), (None, None))
        self.assertEqual(upstream_watch.find_knee(self.samples((20, 50, 10)), 0, 20, 100, 20), (None, None))

    def test_is_lost_again(self):
        found, held = upstream_watch.find_knee(self.samples((13, 100, 20), (10, 100, 400)), 0.0, 23.0, 100, 20)
        self.assertEqual(found, 0.0)
        self.assertAlmostEqual(held, 0.5, delta=0.05)


class Criteria(unittest.TestCase):
    def test_says_what_was_met_and_what_was_missed(self):
        wanted = (
            criteria.Criterion("all", "goodput", "normal", at_least=0.9),
            criteria.Criterion("cut off", "trip_s", at_most=7),
            criteria.Criterion("recovered", "recovery_s", at_most=7),
        )
        judged = criteria.judge(wanted, report.summarise(run([user(1), user(2, good=False)], trip_s=6.5)))
        self.assertEqual([each["met"] for each in judged], [False, True, False])
        lines = list(criteria.lines(judged))
        self.assertIn("MISSED all (normal)", lines[0])
        self.assertIn(">= 0.9", lines[0])
        self.assertIn("nothing seen", lines[2])

    def test_each_scenario_names_figures_that_there_are(self):
        for what in scenarios.SCENARIOS.values():
            records = [user(n, phase=phase.name) for n, phase in enumerate(what.phases)]
            judged = criteria.judge(what.criteria, report.summarise(run(records)))
            self.assertEqual(len(judged), len(what.criteria), what.name)
            self.assertEqual(len(what.quick_seconds), len(what.phases), what.name)


class Metrics(unittest.TestCase):
    def test_reads_only_what_is_wanted(self):
        text = (
            "# HELP penstock_fibers Fibers.\n"
            "penstock_fibers 12\n"
            'penstock_breaker_state{state="open",upstream="A"} 1\n'
            "other_metric 3\n"
        )
        self.assertEqual(
            watch.parse_metrics(text),
            [("penstock_fibers", {}, 12.0), ("penstock_breaker_state", {"state": "open", "upstream": "A"}, 1.0)],
        )


class Events(unittest.TestCase):
    def test_small_moves_of_a_limit_are_not_said(self):
        said = []
        events = scenario.Events(lambda who, message, kind: said.append(message.split(" ", 1)[0] + " " + message[-12:]))

        def resize(node, before, after):
            message = f"limit {before} -> {after}"
            events.show({"action": "resize", "kind": "pool", "name": "default", "node": node, "message": message})

        resize("shop-1", 1000, 1100)
        resize("shop-1", 1100, 1500)
        resize("shop-2", 1000, 1100)
        resize("shop-1", 1500, 1100)
        resize("shop-1", 1100, 1000)
        events.show({"action": "trip", "kind": "upstream", "name": "A", "message": "no success"})
        self.assertEqual(said, ["shop-1 1100 -> 1500", "shop-1 1100 -> 1000", "fleet   no success"])


if __name__ == "__main__":
    unittest.main()
