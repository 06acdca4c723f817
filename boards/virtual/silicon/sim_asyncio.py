"""TaskQueue and Task for asyncio, on the simulated clock (the built-in ones read the real one).

What asyncio/core.py asks of them: TaskQueue.peek, push, pop, remove; Task.coro, data, state,
ph_key, done, cancel and awaiting. `state` is True while the task runs and nobody awaits it, a
TaskQueue of those who do, False once it ended and was awaited, None once it ended unawaited.
"""

from time import ticks_diff, ticks_ms


class TaskQueue:
    """Tasks by the time that they are due, first in first out among equals."""

    def __init__(self):
        self._tasks = []

    def peek(self):
        return self._tasks[0] if self._tasks else None

    def push(self, task, key=None):
        task.data = None
        task.ph_key = ticks_ms() if key is None else key
        tasks = self._tasks
        at = len(tasks)
        while at and ticks_diff(tasks[at - 1].ph_key, task.ph_key) > 0:
            at -= 1
        tasks.insert(at, task)

    def pop(self):
        return self._tasks.pop(0)

    def remove(self, task):
        self._tasks.remove(task)


class Task:
    def __init__(self, coro, globals=None):
        self.coro = coro
        self.data = None
        self.state = True
        self.ph_key = 0
        self._globals = globals

    def __iter__(self):
        if not self.state:
            self.state = False  # it has ended, and now somebody takes its result
        elif self.state is True:
            self.state = TaskQueue()
        elif type(self.state) is not TaskQueue:
            raise RuntimeError("can't wait")
        return self

    def __next__(self):
        if not self.state:
            raise self.data  # its StopIteration, or the error that it ended with
        waiter = self._globals["cur_task"]
        self.state.push(waiter)
        waiter.data = self

    def done(self):
        return not self.state

    def cancel(self):
        if not self.state:
            return False
        scope = self._globals
        if self is scope["cur_task"]:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.data, Task):
            task = task.data  # wake the innermost one that this task waits for
        queue = scope["_task_queue"]
        if hasattr(task.data, "remove"):
            task.data.remove(task)
            queue.push(task)
        elif ticks_diff(task.ph_key, ticks_ms()) > 0:
            queue.remove(task)
            queue.push(task)
        task.data = scope["CancelledError"]
        return True
