"""Teachers: their files, and what students are given of them.

    teacher_manifest  what is known of a teacher's file without opening it
    teachers      teachers' files, and which one a cohort's students learn from
    teachings     what a slot is given of a student's teacher
    backbones     what a teacher's training starts from

A teacher is trained by `cluster.teacher_trainer`.
"""
